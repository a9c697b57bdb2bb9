//! The load tester: what it says of a system that is well, and that it can say otherwise.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::System;

/// A short run: its exit code, its JSON if it printed any, and what it said on stderr.
async fn load(system: &System, arguments: &[&str]) -> Result<(Option<i32>, Value, String)> {
    system.start_load(arguments)?.outcome().await
}

/// 20 devices, 50 messages a second each, for two seconds.
const SHORT: [&str; 8] =
    ["--users", "10", "--devices-per-user", "2", "--rate", "50", "--duration", "2s"];
const MESSAGES: u64 = 2_000;

/// The figures of a run in which nothing went wrong.
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
    let (code, report, said) = load(&system, &[&SHORT[..], &["--run", "one"]].concat()).await?;
    assert_eq!(code, Some(0), "{said}");
    adds_up(&report)?;
    let readings = "select count(*) from telemetry.reading r
                    join telemetry.device d on d.number = r.device
                    where d.user_id like 'load-one-u%'";
    assert_eq!(system.number(readings).await?, i64::try_from(MESSAGES)?);
    let devices = "select count(distinct device) from telemetry.reading";
    assert_eq!(system.number(devices).await?, 20);
    system.is_sound().await
}

#[tokio::test]
async fn batches_over_http_are_accounted_for_as_well() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let (code, report, said) = load(&system, &[&SHORT[..], &["--mode", "http"]].concat()).await?;
    assert_eq!(code, Some(0), "{said}");
    adds_up(&report)?;
    system.is_sound().await
}

#[tokio::test]
async fn what_the_broker_alone_has_is_lost() -> Result<()> {
    let system = System::start().await?;
    // The bridge makes its session and goes away: the broker acknowledges, and nobody stores.
    let bridge = system.serve(&["mqtt"]).await?;
    let _http = system.serve(&["http", "projector"]).await?;
    system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1}"#).await?;
    tests::eventually("the bridge has its session", async || Ok(system.head().await? > 0)).await?;
    bridge.kill().await?;
    let (code, report, said) = load(&system, &[&SHORT[..], &["--patience", "1s"]].concat()).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("2000 acknowledged and not stored"), "{said}");
    assert_eq!((&report["acknowledged"], &report["lost"]), (&MESSAGES.into(), &MESSAGES.into()));
    assert_eq!((&report["stored"], &report["visible"]), (&0.into(), &0.into()));
    // It was all there; the next bridge stores it.
    let _bridge = system.serve(&["mqtt"]).await?;
    tests::eventually("it is stored late", async || {
        Ok(system.head().await? > i64::try_from(MESSAGES)?)
    })
    .await?;
    system.is_sound().await
}

#[tokio::test]
async fn what_nobody_listens_to_is_not_acknowledged() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let arguments = ["--users", "1", "--rate", "5", "--duration", "1s", "--patience", "1s"];
    let (code, report, said) = load(&system, &arguments).await?;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!((&report["due"], &report["unacknowledged"]), (&15.into(), &15.into()), "{report}");
    assert_eq!(report["lost"], 0);
    assert!(report["troubles"].to_string().contains("NoMatchingSubscribers"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_apart() -> Result<()> {
    let system = System::start().await?;
    let nobody = "127.0.0.1:9"; // The discard service, which nobody runs.
    let (code, _, said) = load(&system, &SHORT).await?;
    assert_eq!(code, Some(3), "the API: {said}");
    let _process = system.serve(&["http"]).await?;
    let broker = format!("mqtt://{nobody}");
    let (code, _, said) = load(&system, &[&SHORT[..], &["--mqtt-url", &broker]].concat()).await?;
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("the broker"), "{said}");
    let database = format!("postgres://tributary_app@{nobody}/tributary");
    let arguments = [&SHORT[..], &["--database-url", &database]].concat();
    let (code, _, said) = load(&system, &arguments).await?;
    assert_eq!(code, Some(3), "{said}");
    let (code, _, said) = load(&system, &["--rate", "1", "--duration", "0s"]).await?;
    assert_eq!(code, Some(2), "{said}");
    Ok(())
}
