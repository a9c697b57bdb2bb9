//! `tributary tail`: new events as they are committed, read from Postgres. After an outage it
//! resumes behind the last event that it printed.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use eventsourcing::Position;
use eventstore::{Feed, LogReader, Tasks};
use tokio_util::sync::CancellationToken;

use super::events::{self, EventFilter, unavailable};
use super::outcome::Failure;
use super::output;
use gateway::config::Database;

/// Events per batch, at most.
const BATCH: usize = 500;
/// Database connections: one for the feed, one for events that have left its cache.
const CONNECTIONS: u32 = 2;
/// First and longest wait before a read that failed is retried.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start after this position instead of at the end of the log
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    #[command(flatten)]
    events: EventFilter,
    /// Exit after COUNT events
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Print one JSON object per line, on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let filter = args.events.filter()?;
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let pool = eventstore::pool(args.database.options()?, CONNECTIONS);
    let store = LogReader::new(pool);
    let head = store.head().await.map_err(unavailable)?;
    let feed = Feed::start(&store, None, &tasks, shutdown.clone());
    let mut subscription = feed.subscribe(args.after.map_or(head, Position), filter);
    let json = args.json || !io::stdout().is_terminal();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut backoff = BACKOFF.0;
    while left > 0 {
        let batch = match subscription.next(BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                let (error, position) = (anyhow::Error::from(error), subscription.position());
                output::note(&format!("{error:#}; retrying, resumes after position {position}"));
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
                continue;
            }
        };
        backoff = BACKOFF.0;
        let mut out = io::stdout().lock();
        for event in &batch.events {
            if left == 0 {
                break;
            }
            let write = if json { events::write } else { events::write_short };
            if write(&mut out, event).is_err() {
                return Ok(()); // The reader of stdout is gone.
            }
            left -= 1;
        }
        if out.flush().is_err() {
            return Ok(());
        }
    }
    shutdown.cancel();
    Ok(())
}
