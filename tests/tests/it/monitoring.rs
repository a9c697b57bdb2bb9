//! The shipped configuration of Prometheus and the dashboards, on a real Prometheus that scrapes every
//! role: each query returns data, and each alert fires when its cause is provoked.

#![allow(clippy::print_stderr, reason = "the figures of the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use devservers::testing::free_port;
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Options, Process, Prometheus, System, eventually, from_environment};

use crate::backpressure::{move_documents, send};
use crate::clocks::{REREAD, libfaketime};
use crate::monitoring_files::{dashboards, panels, read};
use crate::parked::inject;
use crate::rebuild::parked_work;

const ROLES: [&str; 5] = ["http", "mqtt", "relay", "projector", "worker"];
/// Alerts on the metrics of other programs, which this test does not run.
const OF_EXPORTERS: [&str; 2] = ["TributaryDiskNearlyFull", "TributaryReplicationBehind"];
/// Variable that is 1 to provoke every alert, for two minutes: `make alerts`.
const ALL_ALERTS: &str = "TRIBUTARY_ALL_ALERTS";
/// Alerts whose cause is there from the start of the test.
const FROM_THE_START: [&str; 3] =
    ["TributaryCertificateExpires", "TributaryClocksDiffer", "TributaryPanic"];

/// The processes, and the Prometheus that scrapes them.
struct Monitored {
    processes: BTreeMap<&'static str, Process>,
    /// Where each serves its metrics.
    addresses: BTreeMap<&'static str, String>,
    certificate: String,
    library: String,
    prometheus: Option<Prometheus>,
    /// Alerts that have fired.
    fired: BTreeSet<String>,
}

impl Monitored {
    async fn start(system: &System) -> Result<Self> {
        let mut addresses = BTreeMap::new();
        for role in ROLES {
            addresses.insert(role, format!("127.0.0.1:{}", free_port()?));
        }
        let mut monitored = Self {
            processes: BTreeMap::new(),
            addresses,
            certificate: certificate(&system.folder)?.display().to_string(),
            library: libfaketime()?,
            prometheus: None,
            fired: BTreeSet::new(),
        };
        for role in ROLES {
            monitored.serve(system, role).await?;
        }
        let folder = system.folder.join("prometheus");
        std::fs::create_dir_all(&folder)?;
        monitored.configure(&folder)?;
        monitored.prometheus = Some(Prometheus::start(&folder).await?);
        Ok(monitored)
    }

    /// Starts the process of a role, with what provokes some alerts.
    async fn serve(&mut self, system: &System, role: &'static str) -> Result<()> {
        let mut more = vec![("METRICS_LISTEN", self.addresses[role].as_str())];
        match role {
            "http" => {
                more.extend([("DATABASE_CONNECTIONS", "2"), ("RATE_LIMIT_EVENT_TICKETS", "1")]);
                more.push(("INTAKE_MAX_LAG", "5"));
            }
            "mqtt" => more.push(("MQTT_CA_FILE", self.certificate.as_str())),
            "projector" => more.push(("TRIBUTARY_INJECT_PANIC", "consumer works")),
            "worker" => {
                more.extend(REREAD);
                more.extend([("LD_PRELOAD", self.library.as_str()), ("FAKETIME", "+60s")]);
            }
            _ => {}
        }
        let process = system.serve_with(&[role], &more).await?;
        self.processes.insert(role, process);
        Ok(())
    }

    /// Writes the shipped files with the addresses of the processes and with shorter times: a scrape a
    /// second instead of every 15, windows of 20 s instead of 5 min, and alerts that fire after a
    /// second. The expressions stay as they are otherwise.
    fn configure(&self, folder: &Path) -> Result<()> {
        let mut config = read("deploy/prometheus/prometheus.yml")?;
        for (role, address) in &self.addresses {
            let shipped = format!("\"{role}:9464\"");
            ensure!(config.contains(&shipped), "{role} is not scraped");
            config = config.replace(&shipped, &format!("\"{address}\""));
        }
        ensure!(config.matches("_interval: 15s").count() == 2, "{config}");
        config = config.replace("_interval: 15s", "_interval: 1s");
        std::fs::write(folder.join("prometheus.yml"), config)?;
        let rules = read("deploy/prometheus/rules.yml")?.replace("[5m]", "[20s]");
        let shorter = rules.lines().map(|line| match line.trim_start().strip_prefix("for: ") {
            Some(time) => line.replace(time, "1s"),
            None => line.to_owned(),
        });
        std::fs::write(folder.join("rules.yml"), shorter.collect::<Vec<_>>().join("\n"))?;
        Ok(())
    }

    fn prometheus(&self) -> Result<&Prometheus> {
        self.prometheus.as_ref().context("Prometheus runs")
    }

    /// Waits until all of these alerts fire at the same time.
    async fn fires(&mut self, alerts: &[&str]) -> Result<()> {
        let prometheus = self.prometheus()?;
        eventually(&format!("{alerts:?} fire"), async || {
            let firing = prometheus.firing().await?;
            Ok(alerts.iter().all(|alert| firing.contains(*alert)))
        })
        .await?;
        self.fired.extend(alerts.iter().map(|&alert| alert.to_owned()));
        Ok(())
    }

    /// Kills the process of a role.
    async fn kill(&mut self, role: &str) -> Result<()> {
        self.processes.remove(role).context("it runs")?.kill().await
    }
}

/// A certificate that expires tomorrow.
fn certificate(folder: &Path) -> Result<PathBuf> {
    let (key, file) = (folder.join("tls.key"), folder.join("tls.pem"));
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "1", "-subj", "/CN=test"]);
    let output = command.arg("-keyout").arg(key).arg("-out").arg(&file).output()?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(file)
}

/// One request of each kind, and a reading over MQTT.
async fn traffic(system: &System, sequence: u64) -> Result<()> {
    system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    system.get("/api/v1/works").send().await?.error_for_status()?;
    let reading = json!({"sequence_id": sequence, "temperature": 20}).to_string();
    system.publish("users/u/devices/d/telemetry", reading.as_bytes()).await
}

/// The names of metrics in a `PromQL` expression.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let outside_of_texts = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside_of_texts.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
    let is_metric = |word: &&str| {
        word.contains(':')
            || *word == "up"
            || *word == "ALERTS"
            || word.starts_with("tributary_")
            || word.starts_with("process_")
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

/// Every query of the dashboards, with the name of its panel and with values for the variables.
fn queries_of_panels() -> Result<Vec<(String, String)>> {
    let mut queries = Vec::new();
    for (file, dashboard) in dashboards()? {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().context("an expression")?;
                let query = query.replace("$__rate_interval", "1m");
                let query = query.replace("$job", "tributary").replace("$consumer", ".*");
                ensure!(!query.contains('$'), "{file}: a variable without a value: {query}");
                queries.push((format!("{file}: {}", panel["title"]), query));
            }
        }
    }
    Ok(queries)
}

/// Returns those of `queries` that return no number.
async fn without_data(
    prometheus: &Prometheus,
    queries: &[(String, String)],
) -> Result<Vec<String>> {
    let mut empty = Vec::new();
    for (name, query) in queries {
        if prometheus.query(query).await?.iter().all(|value| value.is_nan()) {
            empty.push(format!("{name}: {query}"));
        }
    }
    Ok(empty)
}

/// Each panel and each recording rule returns numbers; each metric of an alert has samples.
async fn every_query_returns_data(system: &System, prometheus: &Prometheus) -> Result<()> {
    let mut queries = queries_of_panels()?;
    let panels = queries.len();
    let text = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_default().to_owned();
    let rules = prometheus.rules().await?;
    let (alerts, recorded): (Vec<_>, Vec<_>) =
        rules.iter().partition(|rule| rule["type"] == "alerting");
    queries.extend(recorded.iter().map(|rule| (text(rule, "name"), text(rule, "query"))));
    queries.extend(recorded.iter().map(|rule| (text(rule, "name"), text(rule, "name"))));
    let waited = eventually("every query returns data", async || {
        system.get("/api/v1/works").send().await?.error_for_status()?;
        Ok(without_data(prometheus, &queries).await?.is_empty())
    })
    .await;
    let empty = without_data(prometheus, &queries).await?;
    waited.with_context(|| format!("without data:\n{}", empty.join("\n")))?;

    let names = prometheus.metric_names().await?;
    let mut of_alerts = BTreeSet::new();
    for alert in &alerts {
        let metrics = metrics_in(&text(alert, "query"));
        let of_exporter = OF_EXPORTERS.contains(&text(alert, "name").as_str());
        ensure!(metrics.is_empty() == of_exporter, "{alert}");
        of_alerts.extend(metrics);
    }
    let missing: Vec<_> = of_alerts.difference(&names).collect();
    ensure!(missing.is_empty(), "metrics of alerts without samples: {missing:?}");
    eprintln!(
        "{panels} queries of panels and {} recording rules return data, \
         {} metrics of {} alerts have samples",
        recorded.len(),
        of_alerts.len(),
        alerts.len() - OF_EXPORTERS.len(),
    );
    Ok(())
}

/// promtool finds no mistake in names, types and descriptions of the metrics.
fn metrics_are_as_promtool_wants_them(folder: &Path, metrics: &str) -> Result<()> {
    let file = folder.join("metrics");
    std::fs::write(&file, metrics)?;
    let mut command = Command::new("promtool");
    let output = command.args(["check", "metrics"]).stdin(std::fs::File::open(file)?).output()?;
    let found = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && found.is_empty(), "promtool: {found}");
    Ok(())
}

/// Restarts a role until Prometheus has seen three starts besides the first.
async fn restart_three_times(monitored: &mut Monitored, system: &System) -> Result<()> {
    let changes = "changes(process_start_time_seconds{role=\"relay\"}[15m]) >= ";
    for start in 1..=3 {
        let begun = Utc::now().timestamp();
        monitored.kill("relay").await?;
        eventually("the start is in another second", async || Ok(Utc::now().timestamp() > begun))
            .await?;
        monitored.serve(system, "relay").await?;
        let prometheus = monitored.prometheus()?;
        eventually("Prometheus has seen the restart", async || {
            Ok(!prometheus.query(&format!("{changes}{start}")).await?.is_empty())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_query_returns_data_and_each_alert_fires_when_provoked() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    system.skip_end_check(); // Events are injected.
    let mut monitored = Monitored::start(&system).await?;
    for sequence in 1..=3 {
        traffic(&system, sequence).await?;
    }
    system.caught_up().await?;
    for (role, address) in &monitored.addresses {
        let metrics = system.http.get(format!("http://{address}/metrics")).send().await?;
        let checked = metrics_are_as_promtool_wants_them(&system.folder, &metrics.text().await?);
        checked.with_context(|| (*role).to_owned())?;
    }
    monitored.fires(&FROM_THE_START).await?;
    let prometheus = monitored.prometheus()?;
    eventually("no other alert fires", async || {
        let firing = prometheus.firing().await?;
        Ok(firing.iter().all(|alert| FROM_THE_START.contains(&alert.as_str())))
    })
    .await?;

    // The first refusals make the series, and its rate needs two values.
    let prometheus = monitored.prometheus()?;
    eventually("an alert because of refusals", async || {
        for _ in 0..5 {
            system.post("/api/v1/events/tickets", &json!(null)).send().await?;
        }
        Ok(prometheus.firing().await?.contains("TributaryHttpRefused"))
    })
    .await?;
    monitored.fires(&["TributaryHttpRefused"]).await?;
    traffic(&system, 4).await?;
    every_query_returns_data(&system, monitored.prometheus()?).await?;
    if from_environment(ALL_ALERTS, 0)? == 0 {
        return Ok(());
    }

    restart_three_times(&mut monitored, &system).await?;
    parked_work(&system).await?;
    inject(&system, "work-newer", "work_paused", "{}").await?; // Of a newer build.
    monitored
        .fires(&["TributaryProcessRestarts", "TributaryStreamParked", "TributaryConsumerWaits"])
        .await?;

    // Appends and reads of works wait for locks until the limit of their session.
    let mut locks = system.admin.begin().await?;
    sqlx::query("select 1 from log.head for update").execute(&mut *locks).await?;
    sqlx::query("lock table works.work").execute(&mut *locks).await?;
    system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 9}"#).await?;
    let requests = async {
        loop {
            let body = json!({"add_up_to": 1});
            let commands = (0..4).map(|_| system.post("/api/v1/works", &body).send());
            let queries = (0..4).map(|_| system.get("/api/v1/works").send());
            join_all(commands.chain(queries)).await;
        }
    };
    let alerts = [
        "TributaryAppendsFail",
        "TributaryBridgeLedgerOpen",
        "TributaryHttpErrors",
        "TributaryHttpSlow",
        "TributaryConnectionPoolExhausted",
    ];
    tokio::select! {
        fired = monitored.fires(&alerts) => fired?,
        () = requests => {}
    }
    locks.rollback().await?;

    monitored.kill("projector").await?;
    monitored.kill("relay").await?;
    inject(&system, "work-later", "work_demanded", "{}").await?;
    let earlier = "update log.event set recorded_at = recorded_at - interval '5 minutes'";
    sqlx::query(earlier).execute(&system.admin).await?;
    monitored
        .fires(&[
            "TributaryProcessDown",
            "TributaryConsumerStalled",
            "TributaryConsumerBehind",
            "TributaryRelayBehind",
        ])
        .await?;

    // A consumer that moves, and is slower than the intake.
    let readings = async {
        for first in (1..).step_by(1_000) {
            if let Err(error) = move_documents(&system).await {
                return error;
            }
            drop(send(&system, first, 1_000).await);
        }
        anyhow::anyhow!("no reading is left")
    };
    tokio::select! {
        fired = monitored.fires(&["TributaryIntakePaused"]) => fired?,
        error = readings => return Err(error),
    }

    system.mosquitto.stop().await;
    system.nats.stop().await;
    monitored.fires(&["TributaryBridgeDisconnected", "TributaryNatsDisconnected"]).await?;

    system.postgres.take().context("a Postgres of this test")?.stop().await;
    monitored.fires(&["TributaryPostgresUnavailable", "TributaryConsumerFails"]).await?;

    let rules = monitored.prometheus()?.rules().await?;
    let alerts = rules.iter().filter(|rule| rule["type"] == "alerting");
    let names: BTreeSet<_> =
        alerts.filter_map(|alert| Some(alert["name"].as_str()?.to_owned())).collect();
    let not_fired: Vec<_> = names.difference(&monitored.fired).collect();
    assert!(not_fired.iter().map(|name| name.as_str()).eq(OF_EXPORTERS), "{not_fired:?}");
    eprintln!("{} alerts have fired", monitored.fired.len());
    Ok(())
}
