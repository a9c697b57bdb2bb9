//! `tributary lag`: the position and the lag of every consumer of the log, from the database or over
//! HTTP.

use eventstore::LogReader;
use serde_json::Value;

use super::log_source::LogOptions;
use super::outcome::Failure;
use super::output::{self, Format, OutputFormat};
use super::rows;
use gateway::config::Database;

const HEADS: [&str; 8] = [
    "CONSUMER",
    "STATE",
    "POSITION",
    "EVENTS BEHIND",
    "SECONDS BEHIND",
    "EVENTS/S",
    "HEARTBEAT",
    "PARKED",
];
/// Columns of the table as CSV.
const COLUMNS: [&str; 8] = [
    "name",
    "state",
    "position",
    "events_behind",
    "seconds_behind",
    "events_per_second",
    "heartbeat_age_seconds",
    "parked",
];

/// Difference of clocks in seconds from which it is shown.
const CLOCK_NOTED_SECONDS: f64 = 1.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) async fn run(Args { format, log }: Args) -> Result<(), Failure> {
    let (statuses, skew) = if let Some(database) = &log.database {
        from_database(database).await?
    } else {
        let client = log.server.connect().await?;
        (client.get("/api/v1/projections").send::<Value>().await?.body["items"].take(), None)
    };
    let statuses = statuses.as_array().map_or(&[][..], Vec::as_slice);
    if format.selected() != OutputFormat::Table {
        return rows::show_all(statuses, &COLUMNS, format);
    }
    output::table(&HEADS, &statuses.iter().map(row).collect::<Vec<_>>())?;
    statuses.iter().flat_map(notes).for_each(|note| output::note(&note));
    let number = |status: &Value| status["clock_ahead_seconds"].as_f64();
    let ahead = statuses.first().and_then(number).unwrap_or_default();
    if ahead > CLOCK_NOTED_SECONDS {
        output::note(&format!(
            "the time of the last event is {ahead:.1} s ahead of the clock of Postgres: that clock \
             was set back, and lags are measured from it"
        ));
    }
    if let Some(skew) = skew.filter(|skew| skew.abs() > CLOCK_NOTED_SECONDS) {
        output::note(&format!(
            "the clocks of this computer and of Postgres differ by {skew:.1} s (positive: this \
             computer is ahead)"
        ));
    }
    Ok(())
}

/// Returns the consumers as the API shows them, and by how many seconds the clock of this computer is
/// ahead of that of Postgres.
async fn from_database(database: &Database) -> Result<(Value, Option<f64>), Failure> {
    let reader = LogReader::new(eventstore::pool(database.options()?, 1));
    let statuses = projections::statuses(&reader, &gateway::consumer_names()).await?;
    let postgres = reader.time_of_postgres().await.map_err(anyhow::Error::from)?;
    let skew = (chrono::Utc::now() - postgres).as_seconds_f64();
    Ok((serde_json::to_value(statuses).map_err(anyhow::Error::from)?, Some(skew)))
}

/// Returns what a consumer reports about itself.
fn notes(status: &Value) -> Vec<String> {
    let text = |name: &str| status[name].as_str();
    let name = text("name").unwrap_or_default();
    let since = text("error_since").unwrap_or("-");
    let error = text("error").map(|error| format!("{name}: no progress since {since}: {error}"));
    let warning = text("warning").map(|warning| format!("{name}: warning: {warning}"));
    error.into_iter().chain(warning).collect()
}

fn row(status: &Value) -> Vec<String> {
    let number = |name: &str| status[name].as_f64().unwrap_or_default();
    let text = |name: &str| status[name].as_str().unwrap_or("-").to_owned();
    let heartbeat = status["heartbeat_age_seconds"].as_f64();
    vec![
        text("name"),
        text("state"),
        status["position"].to_string(),
        status["events_behind"].to_string(),
        format!("{:.3}", number("seconds_behind")),
        format!("{:.1}", number("events_per_second")),
        heartbeat.map_or_else(|| "-".to_owned(), |age| format!("{age:.1} s ago")),
        status["parked"].to_string(),
    ]
}
