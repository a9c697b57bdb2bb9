//! `tributary lag`: how far every projection, process manager and publisher is behind the log.

use eventstore::EventStore;
use projections::Status;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outcome::Failure;
use super::output;
use gateway::config::Database;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let pool = eventstore::pool(args.database.options()?, 1);
    let shutdown = CancellationToken::new();
    let store = EventStore::open(pool, &TaskTracker::new(), shutdown.clone());
    let statuses = projections::statuses(&store, &gateway::consumer_names()).await;
    shutdown.cancel();
    let statuses = statuses?;
    if args.json {
        return output::json(&statuses);
    }
    let heads = [
        "READER",
        "STATE",
        "POSITION",
        "EVENTS BEHIND",
        "SECONDS BEHIND",
        "EVENTS/S",
        "HEARTBEAT",
        "PARKED",
    ];
    output::table(&heads, &statuses.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn row(status: &Status) -> Vec<String> {
    vec![
        status.name.clone(),
        status.state.word().to_owned(),
        status.position.to_string(),
        status.events_behind.to_string(),
        format!("{:.3}", status.seconds_behind),
        format!("{:.1}", status.events_per_second),
        status
            .heartbeat_age_seconds
            .map_or_else(|| "-".to_owned(), |age| format!("{age:.1} s ago")),
        status.parked.to_string(),
    ]
}
