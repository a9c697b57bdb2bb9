//! The intake of facts is paused while a consumer that runs falls too far behind the log.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::{System, eventually};

/// Sends `count` new readings over HTTP, numbered from `first`.
pub(crate) async fn send(system: &System, first: i64, count: i64) -> Result<Response> {
    let reading = |n: i64| json!({"user_id": "u", "device_id": "d", "sequence_id": n});
    let readings: Value = (first..first + count).map(reading).collect();
    Ok(system.post("/api/v1/telemetry", &readings).send().await?)
}

/// Moves the checkpoint of documents, which no event of this test concerns, as a projector would that
/// handles one event at a time.
pub(crate) async fn move_documents(system: &System) -> Result<()> {
    let sql = "update log.checkpoint
               set position = least(position + 1, (select position from log.head)),
                   heartbeat_at = clock_timestamp()
               where consumer = 'documents'";
    sqlx::query(sql).execute(&system.admin).await?;
    Ok(())
}

/// Moves the checkpoint and returns whether readings are refused meanwhile.
async fn paused(system: &System) -> Result<bool> {
    move_documents(system).await?;
    Ok(send(system, 0, 1).await?.status() == StatusCode::SERVICE_UNAVAILABLE)
}

#[tokio::test]
async fn facts_wait_while_a_consumer_falls_behind_and_commands_do_not() -> Result<()> {
    let system = System::start().await?;
    let projector = system.serve(&["projector"]).await?;
    eventually("the projections have checkpoints", async || {
        let sql =
            "select count(*) from log.checkpoint where consumer = any(array['documents', 'works'])";
        Ok(system.number(sql).await? == 2)
    })
    .await?;
    assert_eq!(projector.terminate().await?, Some(0));
    let limit = [("INTAKE_MAX_LAG", "5")];
    let mut process = system.serve_with(&["http", "mqtt"], &limit).await?;

    // While no projector runs, readings are recorded, however many.
    assert_eq!(send(&system, 1, 1_000).await?.status(), StatusCode::OK);
    assert_eq!(send(&system, 1_001, 1_000).await?.status(), StatusCode::OK);

    // One that runs, but is slower than the intake, pauses it.
    let first = AtomicI64::new(10_000);
    eventually("readings are refused", async || {
        move_documents(&system).await?;
        let first = first.fetch_add(1_000, Ordering::Relaxed);
        let refused = send(&system, first, 1_000).await?;
        if refused.status() == StatusCode::OK {
            return Ok(false);
        }
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        let problem: Value = refused.json().await?;
        assert_eq!(problem["code"], "intake_paused", "{problem}");
        Ok(paused(&system).await? && paused(&system).await?)
    })
    .await?;
    process.logs("intake paused: consumer documents is").await?;
    let views = json!([{"path": "/", "session_id": "s"}]);
    let url = format!("{}/api/v1/page-views", system.url());
    let view = system.http.post(url).json(&views).send().await?;
    assert_eq!(view.status(), StatusCode::SERVICE_UNAVAILABLE);
    let work = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
    assert_eq!(work.status(), StatusCode::ACCEPTED, "commands are not facts");
    move_documents(&system).await?;

    // A bridge reads at most the message that it already waited for; the broker has the others.
    let lines: String = (1..=20).map(|n| format!("{{\"sequence_id\": {n}}}\n")).collect();
    system.publish_lines("users/u/devices/mqtt/telemetry", &lines).await?;
    for _ in 0..10 {
        assert!(paused(&system).await?, "nothing was gained");
    }
    let before = system.bridge().await?;
    assert!(before.received <= 1, "{before:?}");

    // It gains, and everything that waited is recorded.
    let sql = "update log.checkpoint set position = (select position from log.head)
               where consumer = 'documents'";
    sqlx::query(sql).execute(&system.admin).await?;
    eventually("readings are accepted", async || Ok(!paused(&system).await?)).await?;
    eventually("the bridge takes what waited", async || Ok(system.bridge().await?.appended == 20))
        .await?;
    let _projector = system.serve(&["projector"]).await?;
    system.caught_up().await
}
