//! Events told again: each once, in order, as fast as asked for; and nothing else happens.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, stream};
use chrono::{TimeDelta, Utc};
use eventsourcing::Position;
use eventstore::{EventStore, Filter, event_hash};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{DEADLINE, Process, System, eventually};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::subscribers::{Example, wanted};

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

/// Makes the log what it were if its events had come evenly over a day: the log's clock cannot be
/// set, so its owner writes the times, and the chain over them.
async fn over_a_day(system: &System) -> Result<()> {
    let shutdown = CancellationToken::new();
    let store = EventStore::open(system.admin.clone(), &TaskTracker::new(), shutdown.clone());
    let head = store.head().await?;
    let (begun, day) = (Utc::now() - TimeDelta::days(2), TimeDelta::days(1));
    let step = day / i32::try_from(head.0 - 1)?;
    let (mut at, mut hash) = (Position::START, Vec::new());
    while at < head {
        let page = store.read(at, head, &Filter::default(), 5_000).await?;
        at = page.through;
        for mut event in page.events {
            let (time, last) = (begun + step * i32::try_from(event.position.0 - 1)?, begun + day);
            let time = if event.position == head { last } else { time };
            event.recorded_at = chrono::SubsecRound::trunc_subsecs(time, 6);
            hash = event_hash(&hash, &event);
            sqlx::query("update log.event set recorded_at = $2, hash = $3 where position = $1")
                .bind(event.position.0)
                .bind(event.recorded_at)
                .bind(&hash)
                .execute(&system.admin)
                .await?;
        }
    }
    let end = "update log.head set hash = $1, recorded_at =
                 (select recorded_at from log.event order by position desc limit 1)";
    sqlx::query(end).bind(&hash).execute(&system.admin).await?;
    shutdown.cancel();
    Ok(())
}

/// A day, many times as fast, kept in a stream, and followed by an example; the replay is killed in
/// the middle and goes on.
async fn a_day(language: &str) -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&[]).await?;
    past(&system).await?;
    let all = wanted(&system, 10).await?;
    process.terminate().await?;
    over_a_day(&system).await?;
    let head = system.head().await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let kept = stream::Config {
        name: "AGAIN".into(),
        subjects: vec!["again.>".into()],
        ..Default::default()
    };
    let mut kept = jetstream::new(client).create_stream(kept).await?;
    let example = Example::new(language, &system).await?.of("again");
    let _running = example.start()?;

    let file = system.folder.join("resume");
    let file = file.to_str().context("a path")?;
    let again = ["replay", "--to-subject", "again", "--speed", "21600x", "--resume", file];
    let begun = Instant::now();
    let replay = Process::start(&again, &system.environment)?;
    example.has(all.len() / 2).await?;
    replay.kill().await?;
    ensure!(example.lines().len() < all.len(), "it was not killed in the middle");
    ensure!(begun.elapsed().as_millis() > 1_500, "half a day takes two seconds at that speed");
    system.run(&again).await?;
    example.has(all.len()).await?;
    assert_eq!(example.lines(), all, "{}", example.said());
    let kept = kept.info().await?.state.messages;
    assert_eq!(i64::try_from(kept)?, head, "what was told twice was swallowed");
    assert!(begun.elapsed().as_millis() > 3_000, "a day takes four seconds, without a pause");
    system.is_sound().await
}

#[tokio::test]
async fn a_day_is_heard_by_a_subscriber_in_rust() -> Result<()> {
    a_day("rust").await
}

#[tokio::test]
async fn a_day_is_heard_by_a_subscriber_in_python() -> Result<()> {
    a_day("python").await
}

#[tokio::test]
async fn a_day_is_heard_by_a_subscriber_in_javascript() -> Result<()> {
    a_day("javascript").await
}

#[tokio::test]
async fn a_rate_is_not_exceeded_and_counting_moves_nothing_on() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = past(&system).await?;
    let file = system.folder.join("resume");
    let file = file.to_str().context("a path")?;
    system.run(&["replay", "--dry-run", "--resume", file]).await?;
    let begun = Instant::now();
    let slowly = ["replay", "--to-stdout", "--rate", "20", "--limit", "25", "--resume", file];
    let told = system.run(&slowly).await?;
    assert_eq!(i64::try_from(told.lines().count())?, head.min(25));
    // Two of them may come early, to make up for a timer that overslept.
    let least = u64::try_from(head.min(25) - 3)? * 50;
    assert!(begun.elapsed().as_millis() >= least.into(), "{:?}", begun.elapsed());
    Ok(())
}
