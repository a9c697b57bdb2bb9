//! Throughput of rebuilds: telemetry and works from one log of a million events, compared with COPY
//! of that log to a client in the same run, and with the rate that Marten publishes.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use devservers::{Postgres, postgres};
use eventsourcing::StreamId;
use eventsourcing::event::Encoded;
use eventstore::{Append, EventStore, ExpectedVersion, NewEvent, Tasks};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use projections::{Purpose, Rebuild, Rebuilt, Step};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tikv_jemallocator::Jemalloc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// As in `tributary` itself.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Events per second that Marten's documentation states for its rebuilds.
const MARTEN: f64 = 8_685.0;
/// Readings of one device per append.
const READINGS: usize = 50;
/// Concurrent appends while the log is filled.
const CALLERS: usize = 32;
/// Events per work.
const WORK: usize = 4;

#[derive(Parser)]
struct Options {
    /// Events in the log.
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// One of this many events is of a work; the others are readings.
    #[arg(long, default_value_t = 4)]
    works_every: usize,
    /// Also rebuild both concurrently.
    #[arg(long)]
    together: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let folder = std::env::temp_dir().join(format!("tributary-bench-{}", std::process::id()));
    let mut server = Postgres::start(&folder, postgres::Options::default()).await?;
    server.create_database("bench").await?;
    let admin: PgConnectOptions = server.url("bench", "postgres").parse()?;
    let mut owner = admin.connect().await?;
    eventstore::migrate(&mut owner).await?;
    projections::prepare(&mut owner).await?;
    let application: PgConnectOptions = server.url("bench", "tributary_app").parse()?;
    projections::create_schemas(&application.clone().into()).await?;
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(eventstore::pool(application, 4), &tasks, shutdown.clone());
    fill(&store, &options).await?;
    sqlx::query("vacuum (freeze, analyze) log.event").execute(&mut owner).await?;
    sqlx::query("checkpoint").execute(&mut owner).await?;
    let head = store.head().await?;
    println!("{head} events in the log");

    let copied = copy(&mut owner).await?;
    println!("COPY        {copied:>9.0} events/s");
    // Resets the peak, which from here on is that of the rebuilds.
    std::fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak")?;
    for name in ["telemetry", "works"] {
        say(&rebuild(&store, name).await?, copied);
    }
    if options.together {
        for done in try_join_all(["telemetry", "works"].map(|name| rebuild(&store, name))).await? {
            say(&done, copied);
        }
    }
    println!("peak resident {} MiB", peak()? / 1024);
    shutdown.cancel();
    owner.close().await?;
    server.stop().await;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn say(done: &Rebuilt, copied: f64) {
    let rate = done.events_per_second;
    println!(
        "{:<10}  {rate:>9.0} events/s  {:>5.2} x COPY  {:>5.1} x Marten  ({} events, {:.1} s)",
        done.name,
        rate / copied,
        rate / MARTEN,
        done.events,
        done.seconds
    );
}

async fn rebuild(store: &EventStore, name: &str) -> Result<Rebuilt> {
    let (step, _) = watch::channel(Step::default());
    let rebuild = Rebuild::begin(store, name, Duration::ZERO).await?;
    let done = rebuild.run(Purpose::Replace, &step).await?;
    ensure!(done.replaced && done.parked == 0, "{done:?}");
    Ok(done)
}

/// Returns events per second of a COPY of the whole log to a client that discards it.
async fn copy(owner: &mut PgConnection) -> Result<f64> {
    let events: i64 =
        sqlx::query_scalar("select count(*) from log.event").fetch_one(&mut *owner).await?;
    let begun = Instant::now();
    let mut out = owner.copy_out_raw("copy log.event to stdout").await?;
    while out.try_next().await?.is_some() {}
    Ok(events as f64 / begun.elapsed().as_secs_f64())
}

/// The seed's profile: 30 users with 3 devices each; and works, each demanded, claimed, started
/// and completed.
async fn fill(store: &EventStore, options: &Options) -> Result<()> {
    let works = options.events / options.works_every / WORK;
    let requests = (options.events - works * WORK) / READINGS;
    let readings = (0..requests).map(|request| {
        let (user, device) = (request % 30, request / 30 % 3);
        let stream = StreamId::new("device", format_args!("user_{user}~dev_{device}"));
        let first = request / 90 * READINGS;
        let events = (first..first + READINGS).map(|n| {
            let time = chrono::DateTime::from_timestamp(1_767_225_600 + i64::try_from(n).unwrap_or(0), 0);
            let time = time.unwrap_or_default().to_rfc3339();
            event(
                "reading_recorded",
                format!(
                    r#"{{"user_id":"user_{user}","device_id":"dev_{device}","sequence_id":{n},"boot_id":"","time":"{time}","temperature":21.5,"battery":87,"extra_data":{{"load":{n}}}}}"#
                ),
            )
        });
        (stream, events.collect::<Vec<_>>())
    });
    let works = (0..works).map(|_| {
        let lifecycle = [
            ("work_demanded", r#"{"work_code":"api-bjq8euwsEA","add_up_to":4}"#),
            (
                "work_claimed",
                r#"{"worker":"worker-1","attempt":1,"lease_until":"2026-01-01T00:00:30Z"}"#,
            ),
            ("work_started", r#"{"attempt":1}"#),
            ("work_completed", r#"{"attempt":1,"result":10}"#),
        ];
        let events = lifecycle.map(|(event_type, data)| event(event_type, data.into())).into();
        (StreamId::new("work", Uuid::now_v7()), events)
    });
    // Readings and works alternate, as in operation.
    let share = (works.len() / requests.max(1)).max(1);
    let mut works = works;
    let requests = readings.flat_map(|reading| {
        let works: Vec<_> = works.by_ref().take(share).collect();
        std::iter::once(reading).chain(works)
    });
    let append = async |(stream, events): (StreamId, Vec<NewEvent>)| {
        store.append(Append::to(stream, ExpectedVersion::Any, events)).await
    };
    stream::iter(requests).map(append).buffer_unordered(CALLERS).try_collect::<Vec<_>>().await?;
    Ok(())
}

fn event(event_type: &str, data: String) -> NewEvent {
    let encoded = Encoded { event_type: event_type.into(), schema_version: 1, data: data.into() };
    NewEvent { id: Uuid::now_v7(), encoded }
}

/// Peak resident memory in KiB.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.context("no VmHWM")?.trim().trim_end_matches(" kB").parse()?)
}
