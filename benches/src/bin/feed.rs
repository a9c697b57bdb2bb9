//! What it costs that each process reads the log: for one and four processes that follow it, the
//! latency from the response of an append to the head of a feed in another process, and the CPU time
//! of the processes, Postgres and NATS for a burst of events. Before that, events per second of the
//! relay and the latency in the process that committed.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devservers::Servers;
use eventsourcing::event::Encoded;
use eventsourcing::{Position, StreamId};
use eventstore::{
    Append, Appended, Bus, EventStore, ExpectedVersion, Feed, NewEvent, Relay, Tasks,
};
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Events appended one by one for the latencies.
const TIMED: usize = 1_000;
/// Events appended before the relay starts, for its throughput.
const BACKLOG: usize = 50_000;
/// Rounds and events a round of a burst, one round every 20 ms: 18,000 events per second at most.
const BURST: (usize, usize) = (250, 360);

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tributary-bench-{}", std::process::id()));
    let servers = Servers::start(&folder).await?;
    servers.postgres.create_database("bench").await?;
    let options: PgConnectOptions = servers.postgres.url("bench", "postgres").parse()?;
    eventstore::migrate(&mut options.connect().await?).await?;
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let open = || EventStore::open(eventstore::pool(options.clone(), 4), &tasks, shutdown.clone());
    let here = open();
    let bus = Bus::connect(&servers.nats.url_as("tributary")).await?;

    for _ in 0..BACKLOG / 1_000 {
        try_join_all((0..1_000).map(|_| append(&here))).await?;
    }
    let begun = Instant::now();
    let relay = Relay::start(here.clone(), bus.clone(), |_| "bench", &tasks, shutdown.clone());
    let head = here.head().await?;
    relay.position().wait_for(|position| *position >= head).await?;
    println!("relay             {:>8.0} msg/s", BACKLOG as f64 / begun.elapsed().as_secs_f64());

    eventstore::announcer(&here, bus.clone(), &tasks, shutdown.clone());
    let own = Feed::start(&here, Some(bus), &tasks, shutdown.clone());
    latency("own commit", &here, &mut own.head()).await?;
    let mut others = Vec::new();
    for processes in [1, 4] {
        while others.len() < processes {
            let bus = Bus::connect(&servers.nats.url_as("tributary")).await?;
            others.push(Feed::start(&open(), Some(bus), &tasks, shutdown.clone()));
        }
        // A feed that reads from JetStream joins the stream first.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let name = format!("{processes} process(es)");
        latency(&name, &here, &mut others[0].head()).await?;
        let before = Cpu::of(&servers)?;
        let begun = Instant::now();
        let mut last = Position::START;
        let mut rounds = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..BURST.0 {
            rounds.tick().await;
            let appended = try_join_all((0..BURST.1).map(|_| append(&here))).await?;
            last = appended.into_iter().max().context("a position")?;
        }
        for feed in &others {
            reaches(&mut feed.head(), last).await?;
        }
        relay.position().wait_for(|position| *position >= last).await?;
        let rate = (BURST.0 * BURST.1) as f64 / begun.elapsed().as_secs_f64();
        let Cpu { own, postgres, nats } = Cpu::of(&servers)?.since(&before);
        println!(
            "{name:<16}  {rate:>8.0} msg/s; CPU seconds: processes {own:.2}, Postgres \
             {postgres:.2}, NATS {nats:.2}, together {:.2}",
            own + postgres + nats
        );
    }
    shutdown.cancel();
    servers.stop().await;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn latency(
    name: &str,
    store: &EventStore,
    head: &mut watch::Receiver<Position>,
) -> Result<()> {
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..TIMED {
        let position = append(store).await?;
        let answered = Instant::now();
        reaches(head, position).await?;
        times.record(u64::try_from(answered.elapsed().as_micros())?)?;
    }
    let at = |quantile| Duration::from_micros(times.value_at_quantile(quantile));
    println!("{name:<16}  p50 {:>9.1?}  p99 {:>9.1?}", at(0.5), at(0.99));
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

/// CPU time in seconds, user and system, as Linux counts it.
struct Cpu {
    own: f64,
    postgres: f64,
    nats: f64,
}

impl Cpu {
    fn of(servers: &Servers) -> Result<Self> {
        let (postmaster, mut postgres) = (servers.postgres.pid(), 0.0);
        for entry in std::fs::read_dir("/proc")?.flatten() {
            // A process may have ended since.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some((parent, seconds)) = parse(&stat)
                && (parent == postmaster || entry.file_name() == postmaster.to_string().as_str())
            {
                postgres += seconds;
            }
        }
        let of = |process: &str| -> Result<f64> {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
            Ok(parse(&stat).context("the times of a process")?.1)
        };
        Ok(Self { own: of("self")?, postgres, nats: of(&servers.nats.pid().to_string())? })
    }

    fn since(self, before: &Self) -> Self {
        Self {
            own: self.own - before.own,
            postgres: self.postgres - before.postgres,
            nats: self.nats - before.nats,
        }
    }
}

/// Returns the parent of a process and its CPU time, from the text of `/proc/PID/stat`.
fn parse(stat: &str) -> Option<(u32, f64)> {
    // The name of the process, in parentheses, may contain spaces. Ticks are 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks / 100.0))
}
