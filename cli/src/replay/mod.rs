//! `tributary replay`: publishes past events again, on stdout or on NATS subjects of their own. It
//! only reads the log: nothing is appended, and neither read models nor devices are affected.

mod pace;
mod progress;
mod resume_file;
mod target;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eventsourcing::Position;
use eventstore::LogReader;
use uuid::Uuid;

use super::events::EventFilter;
use super::log_source::{LogOptions, LogSource};
use super::outcome::Failure;
use super::output::{self, Stdout};
use super::when::When;
use gateway::config::Bus;
use pace::{Pace, Speed};
use progress::Progress;
use resume_file::ResumeFile;
use target::{Prefix, Target};

/// Events per page.
const PAGE: usize = 500;
/// Interval between two updates of the resume file.
const SAVE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true)))]
pub(super) struct Args {
    /// Start at this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// Stop after this position; without it, at the current end of the log
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    to: Option<i64>,
    /// Select only events recorded at TIME or later, such as `yesterday`
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Select only events recorded before TIME
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    #[command(flatten)]
    events: EventFilter,
    /// Stop after COUNT events
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Print one JSON object per line
    #[arg(long, group = "target")]
    to_stdout: bool,
    /// Publish on NATS, as PREFIX.{context}.{category}.{key}.{event type}
    #[arg(long, group = "target", value_name = "PREFIX")]
    to_subject: Option<Prefix>,
    /// Only count the selected events
    #[arg(long, group = "target")]
    dry_run: bool,
    /// Send at most EVENTS per second
    #[arg(long, value_name = "EVENTS", conflicts_with = "speed",
          value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Send events at a multiple of the speed at which they were recorded: `10x`
    #[arg(long, value_name = "FACTOR")]
    speed: Option<Speed>,
    /// Save the position of the run in this file; if the file exists, continue that run
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    bus: Bus,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    args.events.filter()?; // An unknown context is a mistake of the command line.
    let log = args.log.source()?;
    let saved = args.resume.as_deref().map(ResumeFile::read).transpose()?.flatten();
    let (after, until) = range(&args, &log, saved.as_ref()).await?;
    let run = saved.map_or_else(|| Uuid::now_v7().to_string(), |saved| saved.run);
    let mut target = match &args.to_subject {
        Some(prefix) => {
            let LogSource::Database(reader) = &log else {
                let message = "--to-subject reads the database: set --database-url (DATABASE_URL)";
                return Err(Failure::usage(vec![message.into()]));
            };
            let owner = LogReader::owner(reader).await?;
            Target::subject(&args.bus, prefix, &run, owner.deployment).await?
        }
        None if args.dry_run => Target::Nowhere,
        None => Target::Stdout(Stdout::lock()),
    };
    let mut progress = Progress::new(after, until);
    let pace = if args.dry_run { Pace::Unlimited } else { Pace::new(args.rate, args.speed) };
    let limit = args.limit.unwrap_or(u64::MAX);
    // A dry run does not move the resume file.
    let resume = args.resume.as_deref().filter(|_| !args.dry_run);
    let filter = &args.events;
    let replay = Replay { log: &log, filter, until, limit, run: &run, resume };
    let ended = replay.publish(pace, &mut target, &mut progress).await;
    progress.finish(ended.is_ok());
    if args.to_subject.is_some() {
        output::note(&format!("run {run}"));
    }
    ended
}

/// Returns the range to replay: events after the first position, up to the second.
async fn range(
    args: &Args,
    log: &LogSource<'_>,
    saved: Option<&ResumeFile>,
) -> Result<(Position, Position), Failure> {
    let head = log.head().await?;
    let mut after = Position(args.from.map_or(0, |from| from - 1));
    let mut until = args.to.map_or(head, |to| head.min(Position(to)));
    if let Some(since) = args.since {
        after = after.max(log.before(since).await?);
    }
    if let Some(end) = args.until {
        until = until.min(log.before(end).await?);
    }
    if let Some(saved) = saved {
        after = after.max(saved.position);
    }
    Ok((after, until))
}

/// A replay, independent of its target.
struct Replay<'a> {
    log: &'a LogSource<'a>,
    filter: &'a EventFilter,
    until: Position,
    limit: u64,
    /// Name of the run.
    run: &'a str,
    /// Resume file.
    resume: Option<&'a Path>,
}

impl Replay<'_> {
    async fn publish(
        &self,
        mut pace: Pace,
        target: &mut Target,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        // Before the first event, so that a run that is killed early is resumed under its name.
        self.settle(target, progress).await?;
        let mut saved_at = Instant::now();
        let mut at = progress.position();
        'events: while at < self.until {
            let page = self.log.read(at, self.until, self.filter, PAGE).await?;
            for event in page.events {
                if progress.count() == self.limit {
                    break 'events;
                }
                let position = event.position();
                let now = Instant::now();
                if let Some(due) = pace.due(event.recorded_at(), now) {
                    if due.saturating_duration_since(now) > SAVE_EVERY {
                        self.settle(target, progress).await?;
                        saved_at = Instant::now();
                    }
                    tokio::time::sleep_until(due.into()).await;
                }
                target.publish(event).await?;
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

    /// Waits until all events sent so far have arrived, and saves the position.
    async fn settle(&self, target: &mut Target, progress: &mut Progress) -> Result<(), Failure> {
        target.settle().await?;
        progress.settle();
        if let Some(file) = self.resume {
            let saved = ResumeFile { position: progress.settled(), run: self.run.to_owned() };
            saved.write(file)?;
        }
        Ok(())
    }
}
