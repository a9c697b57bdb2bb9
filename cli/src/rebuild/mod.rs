//! `tributary rebuild`: rebuilds read models in shadow schemas and swaps them in.

mod progress;
mod report;

use std::time::Duration;

use eventstore::{ConnectOptions, EventStore, Tasks};
use futures::StreamExt;
use futures::stream;
use projections::{Purpose, Rebuild};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outcome::Failure;
use super::output;
use gateway::config::Database;
use progress::Progress;
pub(super) use report::{Outcome, Results, outcomes, print, verdict};

/// Timeout for the lock of a rebuild: Postgres releases that of a killed one once it notices.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections per rebuild for reads, besides those that it opens itself.
const CONNECTIONS_EACH: u32 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names of the projections to rebuild
    #[arg(value_name = "PROJECTION", required_unless_present = "all", conflicts_with = "all",
          value_parser = clap::builder::PossibleValuesParser::new(projections::names()))]
    names: Vec<String>,
    /// Rebuild every projection
    #[arg(long)]
    all: bool,
    /// Compare with the live read model first, row by row; if they differ, do not swap and exit with 4
    #[arg(long)]
    verify: bool,
    /// Rebuild up to COUNT projections concurrently, 1 to 16
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=16))]
    parallel: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut names = args.names;
    if args.all {
        names = projections::names().into_iter().map(str::to_owned).collect();
    }
    names.dedup();
    let purpose = if args.verify { Purpose::ReplaceIfEqual } else { Purpose::Replace };
    let database = args.database.options()?.without_time_limits();
    let results = all(database, &names, purpose, args.parallel).await?;
    let printed = if args.json { output::json(&outcomes(&results)) } else { print(&results) };
    output::conclude(printed, verdict(&results))
}

/// Rebuilds the read models `names`; a rebuild that fails does not stop the others.
pub(super) async fn all(
    database: ConnectOptions,
    names: &[String],
    purpose: Purpose,
    parallel: u8,
) -> Result<Results, Failure> {
    let connections = CONNECTIONS_EACH * u32::from(parallel);
    let pool = eventstore::pool(database, connections);
    let shutdown = CancellationToken::new();
    let store = EventStore::open(pool, &Tasks::new(), shutdown.clone());
    let progress = Progress::new(names);
    let rebuilds = names.iter().map(|name| {
        let (sender, steps) = watch::channel(projections::Step::default());
        let shown = progress.show(name, steps);
        let store = &store;
        async move {
            // Owns the sender, which closes the channel at its end, which ends the bar.
            let rebuilding = async move {
                Rebuild::begin(store, name, LOCK_TIMEOUT).await?.run(purpose, &sender).await
            };
            let (result, ()) = tokio::join!(rebuilding, shown);
            (name.clone(), result)
        }
    });
    let rebuilds: Vec<_> = rebuilds.collect();
    let results = stream::iter(rebuilds).buffered(parallel.into()).collect().await;
    shutdown.cancel();
    Ok(results)
}
