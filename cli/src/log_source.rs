//! Where a command reads the log: from the database if its URL is given, else over the HTTP API.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use eventsourcing::Position;
use eventstore::{LogReader, RawEvent};
use serde::Deserialize;

use super::events::{EventFilter, JsonEvent, LogEvent};
use super::outcome::Failure;
use super::server::Server;
use super::when::When;
use gateway::config::Database;

/// Path of the list of events.
const PATH: &str = "/api/v1/events";
/// Name of `--database-url` among the arguments.
const DATABASE: &str = "database_url";

/// Options of a database that need not be given.
#[derive(Debug, Clone)]
pub(super) struct OptionalDatabase(pub(super) Option<Database>);

impl Args for OptionalDatabase {
    fn augment_args(command: Command) -> Command {
        Database::augment_args(command).mut_arg(DATABASE, |url| url.required(false))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionalDatabase {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = matches.value_source(DATABASE).is_some();
        Ok(Self(is_given.then(|| Database::from_arg_matches(matches)).transpose()?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Options of the database and of the server. A server or an account on the command line takes
/// precedence over a database in the environment.
#[derive(Debug, Clone)]
pub(super) struct LogOptions {
    pub(super) database: Option<Database>,
    pub(super) server: Server,
}

impl LogOptions {
    /// Returns the log; opens no connection yet.
    pub(super) fn source(&self) -> Result<LogSource<'_>, Failure> {
        Ok(match &self.database {
            Some(database) => {
                let reader = LogReader::new(eventstore::pool(database.options()?, 1));
                LogSource::Database(Box::new(reader))
            }
            None => LogSource::Server(&self.server),
        })
    }
}

impl Args for LogOptions {
    fn augment_args(command: Command) -> Command {
        let command = OptionalDatabase::augment_args(command).mut_arg(DATABASE, |url| {
            url.help(
                "URL of the database, with the application's role; without it, the command reads \
                 over the HTTP API",
            )
        });
        Server::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LogOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let server = Server::from_arg_matches(matches)?;
        let given = matches.value_source(DATABASE);
        let is_used = match given {
            Some(ValueSource::CommandLine) => true,
            source => source.is_some() && !server.is_on_command_line(),
        };
        let database = is_used.then(|| Database::from_arg_matches(matches)).transpose()?;
        Ok(Self { database, server })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The log.
pub(super) enum LogSource<'a> {
    Database(Box<LogReader>),
    Server(&'a Server),
}

/// A page of events.
pub(super) struct Page {
    pub(super) events: Vec<LogEvent>,
    /// Every selected event up to here, or down to here, is on this page or an earlier one.
    pub(super) through: Position,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<JsonEvent>,
}

impl LogSource<'_> {
    /// Returns the position of the last event.
    pub(super) async fn head(&self) -> Result<Position, Failure> {
        match self {
            Self::Database(reader) => Ok(reader.head().await?),
            Self::Server(server) => last(server, &[]).await,
        }
    }

    /// Returns the position of the last event recorded before `time`; 0 if there is none.
    pub(super) async fn before(&self, When(time): When) -> Result<Position, Failure> {
        match self {
            Self::Database(reader) => Ok(reader.last_before(time).await?),
            Self::Server(server) => last(server, &[("to", When(time).parameter())]).await,
        }
    }

    /// Returns a page of the selected events after `after`, up to `until`, oldest first.
    pub(super) async fn read(
        &self,
        after: Position,
        until: Position,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Page, Failure> {
        match self {
            Self::Database(reader) => {
                let page = reader.read(after, until, &filter.filter()?, limit).await?;
                Ok(Page { events: stored(page.events), through: page.through })
            }
            Self::Server(server) => {
                let client = server.connect().await?;
                let request = client.get(PATH).query(&filter.parameters());
                let request = request.query(&[("after", after.0)]).query(&[("limit", limit)]);
                let page = request.send::<Items>().await?;
                let through = Position(page.position.unwrap_or(after.0)).min(until);
                let events = page.body.items.into_iter().map(LogEvent::Json);
                let events = events.filter(|event| event.position() <= until).collect();
                Ok(Page { events, through })
            }
        }
    }

    /// Returns a page of the selected events before `before` and after `after`, newest first.
    pub(super) async fn read_back(
        &self,
        before: Position,
        after: Position,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Page, Failure> {
        match self {
            Self::Database(reader) => {
                let page = reader.read_back(before, after, &filter.filter()?, limit).await?;
                Ok(Page { events: stored(page.events), through: page.through })
            }
            Self::Server(server) => {
                let client = server.connect().await?;
                let request = client.get(PATH).query(&filter.parameters());
                let request = request
                    .query(&[("order", "desc")])
                    .query(&[("before", before.0), ("after", after.0)]);
                let page = request.query(&[("limit", limit)]).send::<Items>().await?;
                let through = before_of(page.next.as_deref()).unwrap_or(after.0);
                let events = page.body.items.into_iter().map(LogEvent::Json).collect();
                Ok(Page { events, through: Position(through) })
            }
        }
    }
}

fn stored(events: Vec<RawEvent>) -> Vec<LogEvent> {
    events.into_iter().map(|event| LogEvent::Stored(event.into())).collect()
}

/// Returns the parameter `before` of a link to the next page.
fn before_of(link: Option<&str>) -> Option<i64> {
    let (_, query) = link?.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("before=")?.parse().ok())
}

/// Returns the position of the last event of the list; 0 if there is none.
async fn last(server: &Server, parameters: &[(&str, String)]) -> Result<Position, Failure> {
    let client = server.connect().await?;
    let request = client.get(PATH).query(&[("order", "desc"), ("limit", "1")]).query(parameters);
    let page = request.send::<Items>().await?.body;
    Ok(page
        .items
        .into_iter()
        .next()
        .map_or(Position::START, |event| LogEvent::Json(event).position()))
}
