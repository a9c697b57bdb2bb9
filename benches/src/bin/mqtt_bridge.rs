//! Runs the MQTT bridge alone, into a log on a given Postgres, and says what it did and what it
//! cost: the other half of `mqtt_load`.
#![expect(clippy::print_stdout, reason = "the figures are the program's result")]
#![expect(clippy::cast_precision_loss, reason = "counts and rates are small")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use eventstore::EventStore;
use gateway::mqtt::{Accounting, Bridge, Options, Snapshot};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    database: PgConnectOptions,
    #[arg(long, default_value_t = Options::RECEIVE_MAXIMUM)]
    receive_maximum: u16,
    /// Names the session; one of its own if left out, not to find what another run left.
    #[arg(long)]
    client_id: Option<String>,
    /// Seconds the broker keeps the session.
    #[arg(long, default_value_t = 60)]
    session_expiry: u64,
    /// Stop when so many messages are settled.
    #[arg(long)]
    messages: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut connection = PgConnection::connect_with(&arguments.database).await?;
    eventstore::migrate(&mut connection).await?;
    let pool = eventstore::pool(arguments.database, 2);
    let (tasks, stop, stop_store) =
        (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let store = EventStore::open(pool, &tasks, stop_store.clone());
    let client_id =
        arguments.client_id.unwrap_or_else(|| format!("bench-bridge-{}", std::process::id()));
    let mut options = Options::new(arguments.broker, client_id);
    options.session_expiry = Duration::from_secs(arguments.session_expiry);
    options.receive_maximum = arguments.receive_maximum;
    let accounting = Arc::new(Accounting::new("mqtt"));
    let bridge =
        tasks.spawn(Bridge::run(options, store.clone(), Arc::clone(&accounting), stop.clone()));
    let mut books = accounting.watch();
    let first = *books.wait_for(|books| books.connects > 0).await?;
    println!("subscribed");
    books.wait_for(|books| books.received > first.received).await?;
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut before, mut most_in_flight) = (0, 0);
    let done = |books: &Snapshot| books.received - books.in_flight >= arguments.messages;
    loop {
        tokio::select! {
            finished = books.wait_for(done) => {
                drop(finished?);
                break;
            }
            _ = tick.tick() => {
                let Snapshot { received, in_flight, connects, .. } = accounting.snapshot();
                let settled = received - in_flight;
                println!("{settled} settled, {}/s, {in_flight} in flight, connection {connects}", settled - before);
                most_in_flight = most_in_flight.max(in_flight);
                before = settled;
            }
        }
    }
    let took = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds()? - cpu;
    stop.cancel();
    bridge.await??;
    stop_store.cancel();
    let books = accounting.snapshot();
    let settled = (books.received - books.in_flight) as f64;
    println!(
        "{books:?}\nat most {most_in_flight} in flight; {settled} in {took:.1} s: {:.0}/s; {:.1} us of CPU a message",
        settled / took,
        cpu * 1e6 / settled
    );
    Ok(())
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().context("a name in brackets")?;
    let ticks: Result<Vec<f64>, _> =
        after_name.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}
