//! The output of every command: a failed write is a failure, a closed pipe is none, and text that
//! others chose is shown, not obeyed.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

/// Commands that write no result, or serve until a signal.
const WITHOUT_RESULT: [&str; 7] = ["agent", "dev", "help", "login", "logout", "migrate", "serve"];

async fn run(system: &System, arguments: &[&str], stdout: Stdio) -> Result<Output> {
    let running = tokio::process::Command::new(tests::tributary())
        .args(arguments)
        .envs(system.environment.iter().map(|(name, value)| (name, value)))
        .env("TRIBUTARY_URL", system.url())
        .env("TRIBUTARY_TOKEN", &system.token)
        .env("XDG_CONFIG_HOME", &system.folder)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?
        .wait_with_output();
    Ok(tokio::time::timeout(tests::DEADLINE, running).await.context(format!("{arguments:?}"))??)
}

#[tokio::test]
async fn a_full_disk_fails_every_command_and_a_closed_pipe_none() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    let rules = system.folder.join("rules.json");
    std::fs::write(&rules, r#"{"temperature_max": 20}"#)?;
    let rules = rules.to_str().context("a path")?;
    let port = system.url().rsplit(':').next().context("a port")?.to_owned();
    let load =
        ["load", "--users", "1", "--devices-per-user", "1", "--rate", "2", "--duration", "1s"];
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["orders", "--help"],
        &["projects", "list"],
        &["tasks", "list", "--json"],
        &["works", "list"],
        &["works", "demand", "--add-up-to", "1"],
        &["works", "produce", "--count", "1", "--add-up-to", "1"],
        &["users", "list", "-o", "csv"],
        &["products", "list"],
        &["orders", "list"],
        &["devices", "list"],
        &["rules", "test", rules],
        &["alerts", "list"],
        &["page-views", "stats"],
        &["mqtt", "explain", "users/u/devices/d/telemetry", r#"{"sequence_id": 1}"#],
        &["events", "list"],
        &["trace", "1"],
        &["parked", "list"],
        &["rebuild", "host"],
        &["lag"],
        &["health", "--port", &port],
        &["lag", "--json"],
        &load,
        &["tail", "--after", "0", "--limit", "1"],
        &["replay", "--to-stdout"],
        &["verify"],
        &["backup", "check"],
        &["contexts", "list"],
        &["token"],
        &["config"],
        &["openapi"],
        &["asyncapi"],
        &["completions", "bash"],
    ];
    let mut wrong = Vec::new();
    for arguments in commands {
        let full = run(&system, arguments, File::create("/dev/full")?.into()).await?;
        let stderr = String::from_utf8_lossy(&full.stderr).into_owned();
        let sentence = "error: cannot write to stdout: No space left on device";
        if full.status.code() != Some(1) || !stderr.contains(sentence) {
            wrong.push(format!("{arguments:?} > /dev/full: {}: {stderr}", full.status));
        }
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let closed = run(&system, arguments, writer.into()).await?;
        let stderr = String::from_utf8_lossy(&closed.stderr).into_owned();
        if !closed.status.success() || stderr.contains("error") || stderr.contains("panicked") {
            wrong.push(format!("{arguments:?} | true: {}: {stderr}", closed.status));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Every command is among them.
    let help = system.run(&["--help"]).await?;
    let (_, listed) = help.split_once("Commands:\n").context("commands")?;
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: BTreeSet<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    let tested = commands.iter().map(|arguments| arguments[0]).chain(WITHOUT_RESULT);
    let tested: BTreeSet<_> = tested.collect();
    let untested: Vec<_> = names.difference(&tested).collect();
    ensure!(names.len() > 20 && untested.is_empty(), "add {untested:?} to the table");
    Ok(())
}

/// Columns of a terminal that `text` takes, for the characters of this test.
fn columns(text: &str) -> usize {
    text.chars().map(|character| if character >= '\u{3000}' { 2 } else { 1 }).sum()
}

#[tokio::test]
async fn text_that_others_chose_neither_controls_the_terminal_nor_breaks_columns() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let rule = json!({"key": "note", "operator": "!=", "threshold": "x", "message": "note"});
    operator.command(Method::PUT, "/api/v1/users/u/config", &json!({"rules": [rule]})).await?;
    let note = "\u{1b}]0;t\u{7}漢字\r\n\u{9b}2J\u{202e}";
    for (device, note) in [("a", note), ("b", "y")] {
        let reading =
            json!([{"user_id": "u", "device_id": device, "sequence_id": 1, "note": note}]);
        system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    }
    eventually("both alerts are raised", async || {
        Ok(system.number("select count(*) from alerts.alert").await? == 2)
    })
    .await?;
    let list = system.run(&["alerts", "list"]).await?;
    let interpreted = |text: &str| {
        text.chars()
            .any(|c| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)))
    };
    assert!(!interpreted(&list), "{list:?}");
    assert!(list.contains(r"\u{1b}]0;t\u{7}漢字\r\n\u{9b}2J\u{202e}"), "{list}");
    assert_eq!(list.lines().count(), 3, "a line each: {list}");
    // The column after the text of others begins at the same place in every line.
    let begins: BTreeSet<_> = list
        .lines()
        .filter_map(|line| Some(columns(&line[..line.find("STATE").or(line.rfind("active"))?])))
        .collect();
    assert_eq!(begins.len(), 1, "{list}");
    let json = system.run(&["alerts", "list", "--json"]).await?;
    assert!(!interpreted(&json), "{json:?}");
    let alerts: Value = serde_json::from_str(&json)?;
    assert!(alerts.as_array().context("a list")?.iter().any(|alert| alert["value"] == note));
    for command in
        [&["events", "list", "--type", "alert_raised"][..], &["rules", "show", "--user-id", "u"]]
    {
        assert!(!interpreted(&system.run(command).await?), "{command:?}");
    }
    // An error repeats what it refuses.
    let refused = run(&system, &["works", "list", "--status", note], Stdio::null()).await?;
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && !interpreted(&stderr), "{stderr:?}");
    let csv = system.run(&["alerts", "list", "-o", "csv"]).await?;
    assert!(csv.starts_with("id,raised_at,severity,") && csv.contains(note), "as it is: {csv}");
    Ok(())
}
