//! `tributary tail`: new events as they are committed, from the database or over HTTP. After an
//! outage it resumes behind the last event that it printed.

use std::time::Duration;

use eventsourcing::Position;
use eventstore::{Feed, LogReader, Tasks};
use tokio_util::sync::CancellationToken;

use super::events::{EventFilter, JsonEvent, LogEvent};
use super::log_source::LogOptions;
use super::outcome::Failure;
use super::output::{self, Stdout};
use super::server::Server;
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
    log: LogOptions,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { after, events, limit, json, log } = args;
    events.filter()?; // An unknown context is a mistake of the command line.
    let head = log.source()?.head().await?;
    let stdout = Stdout::lock();
    let json = json || !stdout.is_terminal();
    let printer = Printer {
        stdout,
        json,
        position: after.map_or(head, Position),
        left: limit.unwrap_or(u64::MAX),
        backoff: BACKOFF.0,
    };
    match &log.database {
        Some(database) => from_database(database, &events, printer).await,
        None => over_http(&log.server, &events, printer).await,
    }
}

/// Prints events and waits after failures.
struct Printer {
    stdout: Stdout,
    json: bool,
    /// Everything up to here is printed or not selected.
    position: Position,
    /// Events that are still to be printed.
    left: u64,
    backoff: Duration,
}

impl Printer {
    fn print(&mut self, event: &LogEvent) -> Result<(), Failure> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.position = event.position();
        match (self.json, if self.json { event.json() } else { event.short() }) {
            (true, Some(json)) => self.stdout.json(&json),
            (false, Some(line)) => self.stdout.line(&line),
            (_, None) => Ok(()),
        }
    }

    async fn wait(&mut self, reason: &str) {
        let position = self.position;
        output::note(&format!("{reason}; retrying, resumes after position {position}"));
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }
}

async fn from_database(
    database: &Database,
    events: &EventFilter,
    mut printer: Printer,
) -> Result<(), Failure> {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = LogReader::new(eventstore::pool(database.options()?, CONNECTIONS));
    let feed = Feed::start(&store, None, &tasks, shutdown.clone());
    let mut subscription = feed.subscribe(printer.position, events.filter()?);
    while printer.left > 0 {
        let batch = match subscription.next(BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                printer.position = subscription.position();
                printer.wait(&format!("{:#}", anyhow::Error::from(error))).await;
                continue;
            }
        };
        printer.backoff = BACKOFF.0;
        for event in batch.events {
            printer.print(&LogEvent::Stored(event))?;
        }
        printer.stdout.flush()?;
    }
    shutdown.cancel();
    Ok(())
}

/// Why a stream of events ended.
enum Ended {
    /// The server ended the stream, because the token expires or because it stops.
    ByServer,
    /// An outage, in words.
    Outage(String),
    /// A failure that another attempt would repeat.
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        if failure.is_not_reachable() {
            Self::Outage(failure.text())
        } else {
            Self::Failed(failure)
        }
    }
}

impl From<client::Error> for Ended {
    fn from(error: client::Error) -> Self {
        use client::Error::{Interrupted, NotReachable, Problem};
        let is_outage = match &error {
            Problem(problem) => problem.status >= 500 || problem.status == 429,
            NotReachable { .. } | Interrupted { .. } => true,
            _ => false,
        };
        let failure = Failure::from(error);
        if is_outage { Self::Outage(failure.text()) } else { Self::Failed(failure) }
    }
}

async fn over_http(
    server: &Server,
    events: &EventFilter,
    mut printer: Printer,
) -> Result<(), Failure> {
    while printer.left > 0 {
        match stream(server, events, &mut printer).await {
            Ok(()) => {}
            Err(Ended::ByServer) => tokio::time::sleep(BACKOFF.0).await,
            Err(Ended::Outage(reason)) => printer.wait(&reason).await,
            Err(Ended::Failed(failure)) => return Err(failure),
        }
    }
    Ok(())
}

/// Prints the events of one stream, until enough are printed or the stream ends.
async fn stream(server: &Server, events: &EventFilter, printer: &mut Printer) -> Result<(), Ended> {
    let client = server.connect().await?;
    let request = client.get("/api/v1/events/stream").query(&events.parameters());
    let mut stream = request.query(&[("after", printer.position.0)]).open().await?;
    printer.backoff = BACKOFF.0;
    while printer.left > 0 {
        let data = stream.next().await?.ok_or(Ended::ByServer)?;
        let event: JsonEvent = serde_json::from_str(&data)
            .map_err(|error| Ended::Failed(anyhow::Error::from(error).into()))?;
        printer.print(&LogEvent::Json(event))?;
        printer.stdout.flush()?;
    }
    Ok(())
}
