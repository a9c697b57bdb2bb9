//! The results of rebuilds: as a table, as JSON and as an exit code.

use projections::{RebuildError, Rebuilt};
use serde::Serialize;

use super::super::outcome::Failure;
use super::super::output;

/// Name and result of each rebuild.
pub(in super::super) type Results = Vec<(String, Result<Rebuilt, RebuildError>)>;

/// The result of one rebuild as JSON.
#[derive(Debug, Serialize)]
pub(in super::super) struct Outcome {
    name: String,
    #[serde(flatten)]
    rebuilt: Option<Rebuilt>,
    error: Option<String>,
}

/// Returns the results as they are printed with `--json`.
pub(in super::super) fn outcomes(results: &Results) -> Vec<Outcome> {
    let outcome = |(name, result): &(String, Result<Rebuilt, RebuildError>)| Outcome {
        name: name.clone(),
        rebuilt: result.as_ref().ok().cloned(),
        error: result.as_ref().err().map(ToString::to_string),
    };
    results.iter().map(outcome).collect()
}

/// Prints a table, and examples of the rows that differ.
pub(in super::super) fn print(results: &Results) -> Result<(), Failure> {
    let heads = ["PROJECTION", "OUTCOME", "POSITION", "EVENTS", "SECONDS", "EVENTS/S", "PARKED"];
    let done = results.iter().filter_map(|(_, result)| result.as_ref().ok());
    output::table(&heads, &done.clone().map(row).collect::<Vec<_>>())?;
    for rebuilt in done {
        for difference in &rebuilt.differences {
            for (side, examples) in
                [("live", &difference.live_examples), ("rebuilt", &difference.rebuilt_examples)]
            {
                for example in examples {
                    let table = format!("{}.{}", rebuilt.name, difference.table);
                    output::line(&format!("{table} {side}: {example}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Returns a failure if a rebuild failed or found a difference.
pub(in super::super) fn verdict(results: &Results) -> Result<(), Failure> {
    let (mut failed, mut different) = (Vec::new(), Vec::new());
    for (name, result) in results {
        match result {
            Err(error) => failed.push(format!("{name}: {error}")),
            Ok(rebuilt) => different.extend(rebuilt.differences.iter().map(|difference| {
                format!(
                    "{name}.{}: {} rows only in the live read model, {} only in the rebuilt one",
                    difference.table, difference.only_live, difference.only_rebuilt
                )
            })),
        }
    }
    if !failed.is_empty() {
        let unreachable = results.iter().any(|(_, result)| match result {
            Err(RebuildError::Database(error)) => {
                !matches!(error, sqlx::Error::Database(_) | sqlx::Error::Decode(_))
            }
            Err(RebuildError::Log(error)) => !error.reached(),
            _ => false,
        });
        failed.extend(different);
        return Err(Failure::of_many(failed, unreachable));
    }
    if different.is_empty() { Ok(()) } else { Err(Failure::difference(different)) }
}

fn row(rebuilt: &Rebuilt) -> Vec<String> {
    let outcome = match (rebuilt.replaced, rebuilt.differences.is_empty()) {
        (true, _) => "replaced",
        (false, true) => "the same",
        (false, false) => "different",
    };
    vec![
        rebuilt.name.to_owned(),
        outcome.to_owned(),
        rebuilt.position.to_string(),
        rebuilt.events.to_string(),
        format!("{:.1}", rebuilt.seconds),
        format!("{:.0}", rebuilt.events_per_second),
        rebuilt.parked.to_string(),
    ]
}
