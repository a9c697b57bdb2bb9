//! Replay publishes past events once, in order and at the requested rate, without side effects.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, stream};
use chrono::{TimeDelta, Utc};
use eventsourcing::Position;
use eventstore::{EventStore, Filter, Tasks, event_hash};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{DEADLINE, Process, System, eventually};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::subscribers::{Example, wanted};

/// Completes ten works. Returns the head, at which no further event is appended.
async fn completed_works(system: &System) -> Result<i64> {
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
async fn a_subscriber_receives_each_event_once_in_order_without_side_effects() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = completed_works(&system).await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let mut replayed = client.subscribe("again.>").await?;
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
        let message = timeout(DEADLINE, replayed.next()).await?.context("a message")?;
        let headers = message.headers.as_ref().context("headers")?;
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        ensure!(header("Tributary-Position") == Some(position.to_string()), "out of order");
        assert_eq!(header("ce-id").as_ref(), Some(id));
        assert_ne!(header("Nats-Msg-Id").as_ref(), Some(id), "JetStream would deduplicate it");
        assert_eq!(header("Nats-Expected-Last-Sequence"), None);
        runs.insert(header("Tributary-Replay").context("not marked as a replay")?);
        assert!(message.subject.starts_with("again.works.work."), "{}", message.subject);
    }
    assert_eq!(runs.len(), 1, "one run");
    // The next message is the next one published: nothing was replayed twice.
    client.publish("again.end", "".into()).await?;
    let message = timeout(DEADLINE, replayed.next()).await?.context("a message")?;
    assert_eq!(message.subject.as_str(), "again.end");
    client.publish("events.end", "".into()).await?;
    let message = timeout(DEADLINE, bus.next()).await?.context("a message")?;
    assert_eq!(message.subject.as_str(), "events.end", "nothing came on the log's own subjects");
    assert_eq!(system.head().await?, head, "nothing was appended");
    let refused = system.run(&["replay", "--to-subject", "events"]).await;
    assert!(refused.is_err(), "not on the log's own subjects");
    Ok(())
}

#[tokio::test]
async fn a_replay_is_resumed_limited_and_counted() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = completed_works(&system).await?;
    let file = system.folder.join("resume");
    let file = file.to_str().context("a path")?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let printed =
            system.run(&["replay", "--to-stdout", "--limit", "12", "--resume", file]).await?;
        for line in printed.lines() {
            let event: Value = serde_json::from_str(line)?;
            seen.push(event["position"].as_i64().context("a position")?);
        }
    }
    assert_eq!(seen, (1..=head.min(36)).collect::<Vec<_>>(), "each once over three runs");
    assert_eq!(system.run(&["replay", "--dry-run"]).await?, "", "a dry run publishes nothing");

    // Ranges of time: from the fifth event, and before it.
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

/// Spreads the events evenly over a day. The clock of the log cannot be set, so this rewrites the
/// times and the hash chain.
async fn over_a_day(system: &System) -> Result<()> {
    let shutdown = CancellationToken::new();
    let store = EventStore::open(system.admin.clone(), &Tasks::new(), shutdown.clone());
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

/// Replays a day at a higher speed into a stream that an example follows; the replay is killed and
/// resumed.
async fn a_day(language: &str) -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&[]).await?;
    completed_works(&system).await?;
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
    let bus = jetstream::new(client);
    let mut kept = bus.create_stream(kept).await?;
    let example = Example::new(language, &system).await?.of("again");
    let _running = example.start()?;
    eventually("the example follows the stream", async || {
        Ok(bus.get_stream("AGAIN").await?.cached_info().state.consumer_count > 0)
    })
    .await?;

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
    assert_eq!(i64::try_from(kept)?, head, "repetitions are deduplicated");
    assert!(begun.elapsed().as_millis() > 3_000, "a day takes four seconds, without a pause");
    Ok(())
}

#[tokio::test]
async fn a_subscriber_in_rust_receives_a_replayed_day() -> Result<()> {
    a_day("rust").await
}

#[tokio::test]
async fn a_subscriber_in_python_receives_a_replayed_day() -> Result<()> {
    a_day("python").await
}

#[tokio::test]
async fn a_subscriber_in_javascript_receives_a_replayed_day() -> Result<()> {
    a_day("javascript").await
}

#[tokio::test]
async fn a_rate_is_not_exceeded_and_a_dry_run_moves_no_position() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let head = completed_works(&system).await?;
    let file = system.folder.join("resume");
    let file = file.to_str().context("a path")?;
    system.run(&["replay", "--dry-run", "--resume", file]).await?;
    let begun = Instant::now();
    let slowly = ["replay", "--to-stdout", "--rate", "20", "--limit", "25", "--resume", file];
    let printed = system.run(&slowly).await?;
    assert_eq!(i64::try_from(printed.lines().count())?, head.min(25));
    // Two may be early, after a timer that fired late.
    let least = u64::try_from(head.min(25) - 3)? * 50;
    assert!(begun.elapsed().as_millis() >= least.into(), "{:?}", begun.elapsed());
    Ok(())
}
