//! `tributary events`: lists events of the log, newest first.

use eventsourcing::Position;
use serde_json::Value;

use super::events::{EventFilter, LogEvent};
use super::log_source::LogOptions;
use super::outcome::Failure;
use super::output::{Format, OutputFormat};
use super::rows::{self, Order};
use super::text;
use super::when::When;

/// Columns of the table.
const COLUMNS: [&str; 5] = ["position", "recorded_at", "type", "stream_id", "data"];
/// Columns of the data that a table shows.
const SHOWN: usize = 80;
/// Events per page, at most.
const PAGE: usize = 500;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List events, newest first
    List(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    events: EventFilter,
    /// List only events recorded at TIME or later, such as `2 hours ago`
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// List only events recorded before TIME
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// List at most COUNT events
    #[arg(long, value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::List(args) = command;
    let format = args.format;
    let events = select(&args).await?;
    let objects = events.iter().filter_map(LogEvent::json).map(|json| {
        let mut object: Value = serde_json::from_str(&json).map_err(anyhow::Error::from)?;
        if format.selected() == OutputFormat::Table {
            let data = object["data"].to_string();
            let data = text::printable(&data);
            object["data"] = text::shortened(&data, SHOWN).into();
        }
        Ok(object)
    });
    rows::show_all(&objects.collect::<Result<Vec<_>, Failure>>()?, &COLUMNS, format)
}

/// Reads the selected events, page by page.
async fn select(args: &List) -> Result<Vec<LogEvent>, Failure> {
    let log = args.log.source()?;
    let mut after = match args.from {
        Some(from) => log.before(from).await?,
        None => Position::START,
    };
    let mut until = match args.to {
        Some(to) => log.before(to).await?,
        None => log.head().await?,
    };
    let mut events = Vec::new();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    while events.len() < limit && after < until {
        let count = PAGE.min(limit - events.len());
        let page = if args.order.is_oldest_first() {
            let page = log.read(after, until, &args.events, count).await?;
            after = page.through;
            page
        } else {
            let before = Position(until.0 + 1);
            let page = log.read_back(before, after, &args.events, count).await?;
            until = Position(page.through.0 - 1);
            page
        };
        events.extend(page.events);
    }
    Ok(events)
}
