//! Appends per second with increasing numbers of callers, compared with one session's COPY of the
//! same rows in the same run. The table is new and has no statistics.
//!
//! Each caller appends to its own stream with an exact expected version.

#![allow(clippy::print_stdout, reason = "it prints figures")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use devservers::{Postgres, postgres};
use eventsourcing::event::Encoded;
use eventsourcing::{StreamId, Version};
use eventstore::{Append, Appended, EventStore, ExpectedVersion, NewEvent, Tasks};
use futures::TryStreamExt;
use hdrhistogram::Histogram;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    /// Superuser's URL of a Postgres in which to create databases; by default a private Postgres.
    #[arg(long)]
    database_url: Option<String>,
    /// Numbers of concurrent callers, measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,32,256,1000")]
    callers: Vec<usize>,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let folder = std::env::temp_dir().join(format!("tributary-bench-{}", std::process::id()));
    let private = match options.database_url {
        Some(_) => None,
        None => Some(Postgres::start(&folder, postgres::Options::default()).await?),
    };
    let url = options.database_url.or_else(|| private.as_ref().map(Postgres::admin_url));
    let admin: PgConnectOptions = url.context("a URL is given or Postgres is private")?.parse()?;
    println!("callers  appends/s   p50 ms   p99 ms   COPY rows/s   ratio");
    for callers in &options.callers {
        let name = format!("bench_append_{}", Uuid::now_v7().simple());
        let mut server = admin.connect().await?;
        run_sql(&mut server, &format!("create database {name}")).await?;
        let database = admin.clone().database(&name);
        eventstore::migrate(&mut database.connect().await?).await?;
        let (rate, latency) = append(&database, *callers, options.seconds).await?;
        let copied = copy(&mut database.connect().await?).await?;
        run_sql(&mut server, &format!("drop database {name} with (force)")).await?;
        let millis = |quantile| {
            Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1e3
        };
        let (p50, p99, ratio) = (millis(0.5), millis(0.99), rate / copied);
        println!("{callers:>7}  {rate:>9.0}  {p50:>7.2}  {p99:>7.2}  {copied:>12.0}  {ratio:>6.2}");
    }
    if let Some(mut private) = private {
        private.stop().await;
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Returns appends per second, and their latencies in microseconds.
async fn append(
    database: &PgConnectOptions,
    callers: usize,
    seconds: u64,
) -> Result<(f64, Histogram<u64>)> {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let pool = eventstore::pool(database.clone(), 4);
    let store = EventStore::open(pool, &tasks, shutdown.clone());
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let mut running = JoinSet::new();
    for caller in 0..callers {
        running.spawn(call(store.clone(), caller, until));
    }
    let mut latency = Histogram::new(3)?;
    while let Some(done) = running.join_next().await {
        for micros in done?? {
            latency.record(micros.into())?;
        }
    }
    let rate = latency.len() as f64 / begun.elapsed().as_secs_f64();
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    Ok((rate, latency))
}

async fn call(store: EventStore, caller: usize, until: Instant) -> Result<Vec<u32>> {
    let mut latency = Vec::new(); // In microseconds. A histogram per caller would not fit into the caches.
    let stream = StreamId::new("device", format_args!("user_{}~dev_{caller}", caller % 30));
    let mut version = Version::NONE;
    while Instant::now() < until {
        let encoded = Encoded {
            event_type: "reading_recorded".into(),
            schema_version: 1,
            data: format!(
                r#"{{"user_id":"user_{}","device_id":"dev_{caller}","sequence_id":{version},"time":"2026-01-01T00:00:00Z","temperature":21.5,"battery":87}}"#,
                caller % 30
            )
            .into(),
        };
        let event = NewEvent { id: Uuid::now_v7(), encoded };
        let expected = ExpectedVersion::Exact(version);
        let asked = Instant::now();
        let done = store.append(Append::to(stream.clone(), expected, vec![event])).await?;
        latency.push(u32::try_from(asked.elapsed().as_micros())?);
        let Appended::New { version: now, .. } = done else {
            anyhow::bail!("expected a new event, got {done:?}");
        };
        version = now;
    }
    Ok(latency)
}

/// Returns rows per second of one COPY of the whole log into a table like it.
async fn copy(connection: &mut PgConnection) -> Result<f64> {
    let mut rows = Vec::new();
    let mut out = connection.copy_out_raw("copy log.event to stdout (format binary)").await?;
    while let Some(chunk) = out.try_next().await? {
        rows.extend_from_slice(&chunk);
    }
    drop(out);
    run_sql(connection, "create table log.copied (like log.event including all)").await?;
    run_sql(connection, "checkpoint").await?;
    let begun = Instant::now();
    let mut copy = connection.copy_in_raw("copy log.copied from stdin (format binary)").await?;
    for chunk in rows.chunks(1 << 20) {
        copy.send(chunk).await?;
    }
    let count = copy.finish().await.context("COPY of the rows failed")?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

async fn run_sql(connection: &mut PgConnection, sql: &str) -> Result<()> {
    connection.execute(sql).await?;
    Ok(())
}
