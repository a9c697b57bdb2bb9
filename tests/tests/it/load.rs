//! The load tester: its report of a healthy system, and of systems with faults.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::System;

/// Runs the load tester. Returns its exit code, its JSON (null if there is none) and stderr.
async fn load(system: &System, arguments: &[&str]) -> Result<(Option<i32>, Value, String)> {
    system.start_load(arguments)?.outcome().await
}

/// 20 devices with 50 messages per second each, for 2 s.
const SHORT: [&str; 8] =
    ["--users", "10", "--devices-per-user", "2", "--rate", "50", "--duration", "2s"];
const MESSAGES: u64 = 2_000;

/// Checks the report of a run without faults.
fn adds_up(report: &Value) -> Result<()> {
    for name in ["due", "sent", "acknowledged", "stored", "visible"] {
        assert_eq!(report[name], MESSAGES, "{name} in {report}");
    }
    for name in ["lost", "duplicated", "unacknowledged", "unknown", "resent", "refused"] {
        assert_eq!(report[name], 0, "{name} in {report}");
    }
    assert_eq!(report["to_acknowledged"]["count"], MESSAGES);
    for latency in ["to_acknowledged", "to_visible"] {
        let of = |name| report[latency][name].as_f64().context("a number of milliseconds");
        let quantiles = [of("p50")?, of("p99")?, of("p99.9")?, of("max")?];
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{latency}: {quantiles:?}");
    }
    assert!(report["to_visible"]["count"].as_u64() > Some(100), "{report}");
    Ok(())
}

#[tokio::test]
async fn every_message_is_accounted_for() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "mqtt", "projector"]).await?;
    let (code, report, stderr) = load(&system, &[&SHORT[..], &["--run", "one"]].concat()).await?;
    assert_eq!(code, Some(0), "{stderr}");
    adds_up(&report)?;
    let readings = "select count(*) from telemetry.reading r
                    join telemetry.device d on d.number = r.device
                    where d.user_id like 'load-one-u%'";
    assert_eq!(system.number(readings).await?, i64::try_from(MESSAGES)?);
    let devices = "select count(distinct device) from telemetry.reading";
    assert_eq!(system.number(devices).await?, 20);
    Ok(())
}

#[tokio::test]
async fn batches_over_http_are_accounted_for_as_well() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (code, report, stderr) = load(&system, &[&SHORT[..], &["--mode", "http"]].concat()).await?;
    assert_eq!(code, Some(0), "{stderr}");
    adds_up(&report)?;
    Ok(())
}

#[tokio::test]
async fn messages_that_only_the_broker_has_count_as_lost() -> Result<()> {
    let system = System::start().await?;
    // The bridge creates its session and is killed: the broker acknowledges, and nothing is stored.
    let bridge = system.serve(&["mqtt"]).await?;
    let _http = system.serve(&["http", "projector"]).await?;
    system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1}"#).await?;
    tests::eventually("the bridge has its session", async || Ok(system.head().await? > 0)).await?;
    bridge.kill().await?;
    let (code, report, stderr) =
        load(&system, &[&SHORT[..], &["--patience", "1s"]].concat()).await?;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("2000 acknowledged and not stored"), "{stderr}");
    assert_eq!((&report["acknowledged"], &report["lost"]), (&MESSAGES.into(), &MESSAGES.into()));
    assert_eq!((&report["stored"], &report["visible"]), (&0.into(), &0.into()));
    // The session has kept the messages; the next bridge stores them.
    let _bridge = system.serve(&["mqtt"]).await?;
    tests::eventually("the messages are stored", async || {
        Ok(system.head().await? > i64::try_from(MESSAGES)?)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn messages_without_a_subscriber_are_not_acknowledged() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let arguments = ["--users", "1", "--rate", "5", "--duration", "1s", "--patience", "1s"];
    let (code, report, stderr) = load(&system, &arguments).await?;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!((&report["due"], &report["unacknowledged"]), (&15.into(), &15.into()), "{report}");
    assert_eq!(report["lost"], 0);
    assert!(report["troubles"].to_string().contains("NoMatchingSubscribers"), "{report}");
    Ok(())
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_has_its_exit_code() -> Result<()> {
    let system = System::start().await?;
    let unreachable = "127.0.0.1:9"; // No server listens on the discard port.
    let (code, _, stderr) = load(&system, &SHORT).await?;
    assert_eq!(code, Some(3), "the API: {stderr}");
    let _process = system.serve(&["http"]).await?;
    let broker = format!("mqtt://{unreachable}");
    let (code, _, stderr) = load(&system, &[&SHORT[..], &["--mqtt-url", &broker]].concat()).await?;
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("the broker"), "{stderr}");
    let database = format!("postgres://tributary_app@{unreachable}/tributary");
    let arguments = [&SHORT[..], &["--database-url", &database]].concat();
    let (code, _, stderr) = load(&system, &arguments).await?;
    assert_eq!(code, Some(3), "{stderr}");
    let (code, _, stderr) = load(&system, &["--rate", "1", "--duration", "0s"]).await?;
    assert_eq!(code, Some(2), "{stderr}");
    Ok(())
}
