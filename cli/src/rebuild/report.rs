//! How rebuilds ended: told to people and programs, and as an exit code.

use projections::{RebuildError, Rebuilt};
use serde::Serialize;

use super::super::outcome::Failure;
use super::super::output;

/// How each of them ended.
pub(in super::super) type Results = Vec<(String, Result<Rebuilt, RebuildError>)>;

/// What became of one of them.
#[derive(Debug, Serialize)]
pub(in super::super) struct Outcome {
    name: String,
    #[serde(flatten)]
    rebuilt: Option<Rebuilt>,
    error: Option<String>,
}

/// For programs.
pub(in super::super) fn outcomes(ended: &Results) -> Vec<Outcome> {
    let outcome = |(name, ended): &(String, Result<Rebuilt, RebuildError>)| Outcome {
        name: name.clone(),
        rebuilt: ended.as_ref().ok().cloned(),
        error: ended.as_ref().err().map(ToString::to_string),
    };
    ended.iter().map(outcome).collect()
}

/// For people: a table, and some of the rows that differ.
pub(in super::super) fn print(ended: &Results) {
    let heads = ["PROJECTION", "OUTCOME", "POSITION", "EVENTS", "SECONDS", "EVENTS/S", "PARKED"];
    let done = ended.iter().filter_map(|(_, ended)| ended.as_ref().ok());
    output::table(&heads, &done.clone().map(row).collect::<Vec<_>>());
    for rebuilt in done {
        for difference in &rebuilt.differences {
            for (side, examples) in
                [("live", &difference.live_examples), ("rebuilt", &difference.rebuilt_examples)]
            {
                for example in examples {
                    let table = format!("{}.{}", rebuilt.name, difference.table);
                    output::line(&format!("{table} {side}: {example}"));
                }
            }
        }
    }
}

/// Whether all of them ended well, and else what did not.
pub(in super::super) fn verdict(ended: &Results) -> Result<(), Failure> {
    let (mut failed, mut different) = (Vec::new(), Vec::new());
    for (name, ended) in ended {
        match ended {
            Err(error) => failed.push(format!("{name}: {error}")),
            Ok(rebuilt) => different.extend(rebuilt.differences.iter().map(|difference| {
                format!(
                    "{name}.{}: {} rows only in the live model, {} only in the rebuilt one",
                    difference.table, difference.only_live, difference.only_rebuilt
                )
            })),
        }
    }
    if !failed.is_empty() {
        let unreachable = ended.iter().any(|(_, ended)| {
            matches!(ended, Err(RebuildError::Database(error))
                if !matches!(error, sqlx::Error::Database(_) | sqlx::Error::Decode(_)))
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
