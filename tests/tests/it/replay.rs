//! Events told again: each once, in order, as fast as asked for; and nothing else happens.

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{DEADLINE, System, eventually};
use tokio::time::timeout;

/// Works that are done, on a log that nothing more happens to.
async fn past(system: &System) -> Result<i64> {
    for _ in 0..10 {
        let demand = system.post("/api/v1/works", &json!({"add_up_to": 3})).send().await?;
        demand.error_for_status()?;
    }
    eventually("all are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 10)
    })
    .await?;
    system.head().await
}

#[tokio::test]
async fn a_subscriber_hears_each_once_in_order_and_nothing_else_happens() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = past(&system).await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let mut heard = client.subscribe("again.>").await?;
    let mut bus = client.subscribe("events.>").await?;
    client.flush().await?;
    system.run(&["replay", "--from", "3", "--to-subject", "again", "--speed", "100x"]).await?;
    let expected: Vec<(i64, String)> = sqlx::query_as(
        "select position, event_id::text from log.event where position >= 3 order by position",
    )
    .fetch_all(&system.admin)
    .await?;
    let mut runs = std::collections::HashSet::new();
    for (position, id) in &expected {
        let message = timeout(DEADLINE, heard.next()).await?.context("a message")?;
        let headers = message.headers.as_ref().context("headers")?;
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        ensure!(header("Tributary-Position") == Some(position.to_string()), "out of order");
        assert_eq!(header("ce-id").as_ref(), Some(id));
        assert_ne!(header("Nats-Msg-Id").as_ref(), Some(id), "it would be swallowed");
        assert_eq!(header("Nats-Expected-Last-Sequence"), None);
        runs.insert(header("Tributary-Replay").context("it says that it is a replay")?);
        assert!(message.subject.starts_with("again.works.work."), "{}", message.subject);
    }
    assert_eq!(runs.len(), 1, "one run");
    // The next thing heard is what is said next: nothing was told twice.
    client.publish("again.end", "".into()).await?;
    let message = timeout(DEADLINE, heard.next()).await?.context("a message")?;
    assert_eq!(message.subject.as_str(), "again.end");
    client.publish("events.end", "".into()).await?;
    let message = timeout(DEADLINE, bus.next()).await?.context("a message")?;
    assert_eq!(message.subject.as_str(), "events.end", "nothing came on the log's own subjects");
    assert_eq!(system.head().await?, head, "nothing was appended");
    let refused = system.run(&["replay", "--to-subject", "events"]).await;
    assert!(refused.is_err(), "not on the log's own subjects");
    system.is_sound().await
}

#[tokio::test]
async fn it_is_resumed_limited_and_counted() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = past(&system).await?;
    let file = system.folder.join("resume");
    let file = file.to_str().context("a path")?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let told =
            system.run(&["replay", "--to-stdout", "--limit", "12", "--resume", file]).await?;
        for line in told.lines() {
            let event: Value = serde_json::from_str(line)?;
            seen.push(event["position"].as_i64().context("a position")?);
        }
    }
    assert_eq!(seen, (1..=head.min(36)).collect::<Vec<_>>(), "each once over three runs");
    assert_eq!(system.run(&["replay", "--dry-run"]).await?, "", "it only counts");

    // By time: what was recorded from the fifth event on, and before it.
    let (at, first): (String, i64) = sqlx::query_as(
        r#"select to_char(e.recorded_at, 'YYYY-MM-DD"T"HH24:MI:SS.USOF:00'),
                  (select min(position) from log.event f where f.recorded_at >= e.recorded_at)
           from log.event e where position = 5"#,
    )
    .fetch_one(&system.admin)
    .await?;
    let since = system.run(&["replay", "--to-stdout", "--since", &at]).await?;
    let until = system.run(&["replay", "--to-stdout", "--until", &at]).await?;
    assert_eq!(i64::try_from(since.lines().count())?, head - first + 1);
    assert_eq!(i64::try_from(until.lines().count())?, first - 1);
    let some = ["replay", "--to-stdout", "--type", "work_demanded", "--context", "works"];
    assert_eq!(system.run(&some).await?.lines().count(), 10);
    assert_eq!(system.head().await?, head);
    Ok(())
}
