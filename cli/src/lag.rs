//! `tributary lag`: the position and the lag of every consumer of the log.

use chrono::SecondsFormat;
use eventstore::LogReader;
use projections::Status;

use super::outcome::Failure;
use super::output;
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

/// Difference of clocks in seconds from which it is shown.
const CLOCK_NOTED_SECONDS: f64 = 1.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let reader = LogReader::new(eventstore::pool(args.database.options()?, 1));
    let statuses = projections::statuses(&reader, &gateway::consumer_names()).await?;
    if args.json {
        return output::json(&statuses);
    }
    output::table(&HEADS, &statuses.iter().map(row).collect::<Vec<_>>());
    statuses.iter().flat_map(notes).for_each(|note| output::note(&note));
    let ahead = statuses.first().map_or(0.0, |status| status.clock_ahead_seconds);
    if ahead > CLOCK_NOTED_SECONDS {
        output::note(&format!(
            "the time of the last event is {ahead:.1} s ahead of the clock of Postgres: that clock \
             was set back, and lags are measured from it"
        ));
    }
    let postgres = reader.time_of_postgres().await.map_err(anyhow::Error::from)?;
    let skew = (chrono::Utc::now() - postgres).as_seconds_f64();
    if skew.abs() > CLOCK_NOTED_SECONDS {
        output::note(&format!(
            "the clocks of this computer and of Postgres differ by {skew:.1} s (positive: this \
             computer is ahead)"
        ));
    }
    Ok(())
}

/// Returns what a consumer reports about itself.
fn notes(status: &Status) -> Vec<String> {
    let name = &status.name;
    let since = status.error_since.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    let error = status.error.as_ref().map(|error| {
        format!("{name}: no progress since {}: {error}", since.as_deref().unwrap_or("-"))
    });
    let warning = status.warning.as_ref().map(|warning| format!("{name}: warning: {warning}"));
    error.into_iter().chain(warning).collect()
}

fn row(status: &Status) -> Vec<String> {
    let heartbeat = status.heartbeat_age_seconds;
    vec![
        status.name.clone(),
        status.state.word().to_owned(),
        status.position.to_string(),
        status.events_behind.to_string(),
        format!("{:.3}", status.seconds_behind),
        format!("{:.1}", status.events_per_second),
        heartbeat.map_or_else(|| "-".to_owned(), |age| format!("{age:.1} s ago")),
        status.parked.to_string(),
    ]
}
