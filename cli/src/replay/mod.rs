//! `tributary replay`: events out of the log, once more, to stdout or to subjects of their own. It
//! reads and tells; nothing is appended, no model changes, no device hears of it.

mod pace;
mod progress;
mod resume_file;
mod target;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::{EventStore, Filter};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::events::{self, EventFilter, unavailable};
use super::outcome::Failure;
use super::output;
use gateway::config::{Bus, Database};
use pace::{Pace, Speed};
use progress::Progress;
use resume_file::ResumeFile;
use target::{Prefix, Target};

/// Events read at once.
const PAGE: usize = 500;
/// How far it has come is made sure of, and written down, this often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true)))]
pub(super) struct Args {
    /// The first position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// The last position; the end of the log as it is now, if not given
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    to: Option<i64>,
    /// Only what was recorded at this time (RFC 3339) or after it
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Only what was recorded before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    #[command(flatten)]
    events: EventFilter,
    /// So many events at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Print one JSON object a line
    #[arg(long, group = "target")]
    to_stdout: bool,
    /// Publish on NATS as PREFIX.{context}.{category}.{key}.{event type}
    #[arg(long, group = "target", value_name = "PREFIX")]
    to_subject: Option<Prefix>,
    /// Only count
    #[arg(long, group = "target")]
    dry_run: bool,
    /// Events a second at most
    #[arg(long, value_name = "EVENTS", conflicts_with = "speed",
          value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// As it was recorded, but so many times as fast: `10x`
    #[arg(long, value_name = "FACTOR")]
    speed: Option<Speed>,
    /// Keep in this file how far which run came, and go on with it if it is there already
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    bus: Bus,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let filter = args.events.filter()?;
    let shutdown = CancellationToken::new();
    let pool = eventstore::pool(args.database.options()?, 1);
    let store = EventStore::open(pool, &TaskTracker::new(), shutdown.clone());
    let saved = args.resume.as_deref().map(ResumeFile::read).transpose()?.flatten();
    let (after, until) = range(&args, &store, saved.as_ref()).await?;
    let run = saved.map_or_else(|| Uuid::now_v7().to_string(), |saved| saved.run);
    let mut target = match &args.to_subject {
        Some(prefix) => Target::subject(&args.bus, prefix, &run).await?,
        None if args.dry_run => Target::Nowhere,
        None => Target::Stdout(io::stdout().lock()),
    };
    let mut progress = Progress::new(after, until);
    let pace = if args.dry_run { Pace::Free } else { Pace::new(args.rate, args.speed) };
    let limit = args.limit.unwrap_or(u64::MAX);
    // What was only counted is still to be told.
    let resume = args.resume.as_deref().filter(|_| !args.dry_run);
    let replay = Replay { store: &store, filter, until, limit, run: &run, resume };
    let ended = replay.publish(pace, &mut target, &mut progress).await;
    shutdown.cancel();
    progress.finish(ended.is_ok());
    if args.to_subject.is_some() {
        output::note(&format!("run {run}"));
    }
    ended
}

/// What is to be told: everything after the first position and up to the second.
async fn range(
    args: &Args,
    store: &EventStore,
    saved: Option<&ResumeFile>,
) -> Result<(Position, Position), Failure> {
    let head = store.head().await.map_err(unavailable)?;
    let mut after = Position(args.from.map_or(0, |from| from - 1));
    let mut until = args.to.map_or(head, |to| head.min(Position(to)));
    if let Some(since) = args.since {
        after = after.max(events::before(store, since, head).await?);
    }
    if let Some(end) = args.until {
        until = until.min(events::before(store, end, head).await?);
    }
    if let Some(saved) = saved {
        after = after.max(saved.position);
    }
    Ok((after, until))
}

/// What is told, wherever.
struct Replay<'a> {
    store: &'a EventStore,
    filter: Filter,
    until: Position,
    limit: u64,
    /// Its name.
    run: &'a str,
    /// Where to write down how far it came.
    resume: Option<&'a Path>,
}

impl Replay<'_> {
    async fn publish(
        &self,
        mut pace: Pace,
        target: &mut Target<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // At once, so that it is the same run even if it is killed before it has told anything.
        self.settle(target, progress).await?;
        let mut saved_at = Instant::now();
        let mut at = progress.position();
        'events: while at < self.until {
            let page =
                self.store.read(at, self.until, &self.filter, PAGE).await.map_err(unavailable)?;
            for event in page.events {
                if progress.count() == self.limit {
                    break 'events;
                }
                let position = event.position;
                let now = Instant::now();
                if let Some(due) = pace.due(event.recorded_at, now) {
                    if due.saturating_duration_since(now) > SAVE_EVERY {
                        self.settle(target, progress).await?;
                        saved_at = Instant::now();
                    }
                    tokio::time::sleep_until(due.into()).await;
                }
                if !target.publish(event).await? {
                    break 'events; // Nobody reads any more.
                }
                progress.sent(position);
                if saved_at.elapsed() > SAVE_EVERY {
                    self.settle(target, progress).await?;
                    saved_at = Instant::now();
                }
            }
            progress.pass(page.through);
            at = page.through;
        }
        self.settle(target, progress).await
    }
    /// Makes sure that everything told so far has arrived, and writes down how far that is.
    async fn settle(
        &self,
        target: &mut Target<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        target.settle().await?;
        progress.settle();
        if let Some(file) = self.resume {
            let saved = ResumeFile { position: progress.settled(), run: self.run.to_owned() };
            saved.write(file)?;
        }
        Ok(())
    }
}
