//! Latency from the response of an append to the head of a feed, in the process that committed it
//! and in another, which receives it through the relay and JetStream; and events per second of the
//! relay.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::time::{Duration, Instant};

use anyhow::Result;
use devservers::Servers;
use eventsourcing::event::Encoded;
use eventsourcing::{Position, StreamId};
use eventstore::{Append, Appended, Bus, EventStore, ExpectedVersion, Feed, NewEvent, Relay};
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Events appended one by one for the latencies.
const TIMED: usize = 1_000;
/// Events appended before the relay starts, for its throughput.
const BACKLOG: usize = 200_000;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tributary-bench-{}", std::process::id()));
    let servers = Servers::start(&folder).await?;
    servers.postgres.create_database("bench").await?;
    let options: PgConnectOptions = servers.postgres.url("bench", "postgres").parse()?;
    eventstore::migrate(&mut options.connect().await?).await?;
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let open = || EventStore::open(eventstore::pool(options.clone(), 4), &tasks, shutdown.clone());
    let (here, there) = (open(), open());
    let bus = Bus::connect(&servers.nats.url_as("tributary")).await?;

    for _ in 0..BACKLOG / 1_000 {
        try_join_all((0..1_000).map(|_| append(&here))).await?;
    }
    let begun = Instant::now();
    let relay = Relay::start(here.clone(), bus.clone(), |_| "bench", &tasks, shutdown.clone());
    let head = here.head().await?;
    relay.position().wait_for(|position| *position >= head).await?;
    println!("relay       {:>8.0} msg/s", BACKLOG as f64 / begun.elapsed().as_secs_f64());

    eventstore::announcer(&here, bus.clone(), &tasks, shutdown.clone());
    let own = Feed::start(&here, Some(bus.clone()), &tasks, shutdown.clone());
    let other = Feed::start(&there, Some(bus), &tasks, shutdown.clone());
    for (name, mut head) in [("own commit", own.head()), ("JetStream", other.head())] {
        let mut times = Histogram::<u64>::new(3)?;
        for _ in 0..TIMED {
            let position = append(&here).await?;
            let answered = Instant::now();
            reaches(&mut head, position).await?;
            times.record(u64::try_from(answered.elapsed().as_micros())?)?;
        }
        let at = |quantile| Duration::from_micros(times.value_at_quantile(quantile));
        println!("{name:<10}  p50 {:>9.1?}  p99 {:>9.1?}", at(0.5), at(0.99));
    }
    shutdown.cancel();
    servers.stop().await;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn append(store: &EventStore) -> Result<Position> {
    let event = NewEvent {
        id: Uuid::now_v7(),
        encoded: Encoded {
            event_type: "measured".into(),
            schema_version: 1,
            data: r#"{"user_id":"user_1","device_id":"dev_1","temperature":21.5,"battery":87}"#
                .into(),
        },
    };
    let request = Append::to(StreamId::new("bench", "one"), ExpectedVersion::Any, vec![event]);
    match store.append(request).await? {
        Appended::New { position, .. } => Ok(position),
        other => anyhow::bail!("expected a new event, got {other:?}"),
    }
}

async fn reaches(head: &mut watch::Receiver<Position>, position: Position) -> Result<()> {
    head.wait_for(|head| *head >= position).await?;
    Ok(())
}
