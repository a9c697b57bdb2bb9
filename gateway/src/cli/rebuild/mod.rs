//! `tributary rebuild`: makes models anew beside those that serve, and puts them in their place.

mod bars;

use std::time::Duration;

use eventstore::EventStore;
use futures::StreamExt;
use futures::stream;
use projections::{Purpose, Rebuild, RebuildError, Rebuilt};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outcome::Failure;
use super::output;
use crate::config::Database;
use bars::Bars;

/// How long the server may take to notice that the rebuild before this one was killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections a rebuild reads on, besides those it makes for itself.
const CONNECTIONS_EACH: u32 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Projections to rebuild
    #[arg(value_name = "PROJECTION", required_unless_present = "all", conflicts_with = "all",
          value_parser = clap::builder::PossibleValuesParser::new(projections::names()))]
    names: Vec<String>,
    /// Rebuild every projection
    #[arg(long)]
    all: bool,
    /// Compare with the live model first, row by row; where they differ, leave it and exit with 4
    #[arg(long)]
    verify: bool,
    /// How many at a time
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=16))]
    parallel: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

/// What became of one of them.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    #[serde(flatten)]
    rebuilt: Option<Rebuilt>,
    error: Option<String>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut names = args.names;
    if args.all {
        names = projections::names().into_iter().map(str::to_owned).collect();
    }
    names.dedup();
    let purpose = if args.verify { Purpose::ReplaceIfEqual } else { Purpose::Replace };
    let ended = all(&args.database, &names, purpose, args.parallel).await?;
    say(&ended, args.json)
}

/// Rebuilds each of `names`; one that fails does not stop the others.
pub(super) async fn all(
    database: &Database,
    names: &[String],
    purpose: Purpose,
    parallel: u8,
) -> Result<Vec<(String, Result<Rebuilt, RebuildError>)>, Failure> {
    let connections = CONNECTIONS_EACH * u32::from(parallel);
    let pool = eventstore::pool(database.options()?, connections);
    let shutdown = CancellationToken::new();
    let store = EventStore::open(pool, &TaskTracker::new(), shutdown.clone());
    let bars = Bars::new(names);
    let rebuilds = names.iter().map(|name| {
        let (sender, steps) = watch::channel(projections::Step::default());
        let shown = bars.show(name, steps);
        let store = &store;
        async move {
            // Owns the channel: it closes with the rebuild, and the bar ends with the channel.
            let rebuilding = async move {
                Rebuild::begin(store, name, PATIENCE).await?.run(purpose, &sender).await
            };
            let (ended, ()) = tokio::join!(rebuilding, shown);
            (name.clone(), ended)
        }
    });
    let rebuilds: Vec<_> = rebuilds.collect();
    let ended = stream::iter(rebuilds).buffered(parallel.into()).collect().await;
    shutdown.cancel();
    Ok(ended)
}

fn say(ended: &[(String, Result<Rebuilt, RebuildError>)], json: bool) -> Result<(), Failure> {
    let (mut failed, mut different) = (Vec::new(), Vec::new());
    for (name, ended) in ended {
        match ended {
            Err(error) => failed.push(format!("{name}: {error}")),
            Ok(rebuilt) => {
                different.extend(rebuilt.differences.iter().map(|difference| {
                    format!(
                        "{name}.{}: {} rows only in the live model, {} only in the rebuilt one",
                        difference.table, difference.only_live, difference.only_rebuilt
                    )
                }));
            }
        }
    }
    if json {
        let outcomes = ended.iter().map(|(name, ended)| Outcome {
            name: name.clone(),
            rebuilt: ended.as_ref().ok().cloned(),
            error: ended.as_ref().err().map(ToString::to_string),
        });
        output::json(&outcomes.collect::<Vec<_>>())?;
    } else {
        let heads =
            ["PROJECTION", "REPLACED", "POSITION", "EVENTS", "SECONDS", "EVENTS/S", "PARKED"];
        let done = ended.iter().filter_map(|(_, ended)| ended.as_ref().ok());
        output::table(&heads, &done.clone().map(row).collect::<Vec<_>>());
        for difference in done.flat_map(|rebuilt| &rebuilt.differences) {
            for (side, examples) in
                [("live", &difference.live_examples), ("rebuilt", &difference.rebuilt_examples)]
            {
                for example in examples {
                    output::line(&format!("{} {side}: {example}", difference.table));
                }
            }
        }
    }
    if !failed.is_empty() {
        let unreachable = ended.iter().any(|(_, ended)| {
            matches!(ended, Err(RebuildError::Database(error))
                if !matches!(error, sqlx::Error::Database(_) | sqlx::Error::Decode(_)))
        });
        return Err(Failure::of_many(failed, unreachable));
    }
    if different.is_empty() { Ok(()) } else { Err(Failure::difference(different)) }
}

fn row(rebuilt: &Rebuilt) -> Vec<String> {
    vec![
        rebuilt.name.to_owned(),
        if rebuilt.replaced { "yes" } else { "no" }.to_owned(),
        rebuilt.position.to_string(),
        rebuilt.events.to_string(),
        format!("{:.1}", rebuilt.seconds),
        format!("{:.0}", rebuilt.events_per_second),
        rebuilt.parked.to_string(),
    ]
}
