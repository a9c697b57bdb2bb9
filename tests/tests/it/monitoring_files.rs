//! The files of `deploy/prometheus` and `deploy/grafana`, checked without a system: promtool accepts
//! them, each alert is documented and tested, dashboards have what a reader needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(root().join(name)).with_context(|| name.to_owned())
}

/// The dashboards, with the names of their files.
pub(crate) fn dashboards() -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("deploy/grafana/dashboards"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let text = read(&format!("deploy/grafana/dashboards/{name}"))?;
        found.push((name.clone(), serde_json::from_str(&text).context(name)?));
    }
    Ok(found)
}

/// The panels of a dashboard that show something.
pub(crate) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    panels.filter(|panel| panel["type"] != "row")
}

#[test]
fn promtool_accepts_the_configuration_and_its_tests_of_the_rules_pass() -> Result<()> {
    for arguments in [
        ["check", "config", "deploy/prometheus/prometheus.yml"],
        ["check", "rules", "deploy/prometheus/rules.yml"],
        ["test", "rules", "deploy/prometheus/rules_test.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(root()).output()?;
        let text = [output.stdout, output.stderr].concat();
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
    }
    Ok(())
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn each_alert_is_described_has_a_runbook_and_is_tested() -> Result<()> {
    let (rules, tests) =
        (read("deploy/prometheus/rules.yml")?, read("deploy/prometheus/rules_test.yml")?);
    let page = read("docs/operations.md")?;
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let anchors: BTreeSet<_> =
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    for alert in &alerts {
        let name = alert.lines().next().context("a name")?;
        for part in ["expr: ", "severity: ", "summary: ", "description: ", "runbook_url: "] {
            ensure!(alert.matches(part).count() == 1, "{name} has no {part:?}, or several");
        }
        let runbook = alert.lines().find_map(|line| line.trim().strip_prefix("runbook_url: "));
        let runbook = runbook.and_then(|url| url.strip_prefix("docs/operations.md#"));
        let runbook = runbook.with_context(|| format!("{name} has no section of the page"))?;
        ensure!(anchors.contains(runbook), "{name}: docs/operations.md has no section #{runbook}");
        ensure!(page.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
        ensure!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is not tested");
    }
    ensure!(alerts.len() > 20, "{} alerts", alerts.len());
    Ok(())
}

#[test]
fn each_panel_has_a_title_a_description_a_unit_and_queries() -> Result<()> {
    let mut ids = BTreeSet::new();
    let dashboards = dashboards()?;
    for (file, dashboard) in &dashboards {
        ensure!(
            ids.insert(dashboard["uid"].as_str().context("a uid")?),
            "{file}: its uid is not unique"
        );
        let mut cells = BTreeSet::new();
        for panel in panels(dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            let what = format!("{file}, panel {title:?}");
            ensure!(!title.is_empty(), "{what} has no title");
            ensure!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{what}"
            );
            ensure!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{what} has no unit");
            ensure!(panel["targets"].as_array().is_some_and(|list| !list.is_empty()), "{what}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| &panel["gridPos"][side]);
            let [x, y, w, h] = [x, y, w, h].map(|side| side.as_i64().unwrap_or(-1));
            ensure!(x >= 0 && w > 0 && x + w <= 24 && h > 0, "{what} does not fit");
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
                ensure!(cells.insert(cell), "{what} covers another panel at {cell:?}");
            }
        }
    }
    ensure!(dashboards.len() == 2, "{} dashboards", dashboards.len());
    Ok(())
}
