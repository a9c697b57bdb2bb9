//! Rules result out on the past: the same fold, over the readings a device sent, with nothing
//! written.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::alerts::{
    Cause, Config, EffectiveRule, Outcome, READING, Reading, Scope, Watch, alert::Event,
};
use eventsourcing::{StreamId, Version};
use eventstore::EventStore;

use crate::handler::LoadError;

/// Events read at once.
const PAGE: usize = 2_000;

/// What is result out.
#[derive(Debug, Clone)]
pub struct DryRun {
    pub user_id: String,
    pub config: Config,
    /// Readings of then or later, by their own time.
    pub from: Option<DateTime<Utc>>,
    /// Readings of before then.
    pub to: Option<DateTime<Utc>>,
    /// Readings looked at, at most.
    pub limit: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct DryRunResult {
    /// Readings that were judged.
    pub readings: usize,
    /// There were more than it was allowed to look at.
    pub truncated: bool,
    pub fired: Vec<Fired>,
}

/// What would have happened to an alert.
#[derive(Debug)]
pub struct Fired {
    pub outcome: Outcome,
    /// For one that was raised: the readings that led to it, and what was made of each.
    pub steps: Vec<domain::alerts::Step>,
}

/// Judges what the device of `stream` sent, and adds what would have followed to `result`.
pub async fn dry_run(
    store: &EventStore,
    stream: &StreamId,
    run: &DryRun,
    result: &mut DryRunResult,
) -> Result<(), LoadError> {
    let (_, device_id) = super::watch_cache::halves(stream.key());
    let scope = Scope::User(run.user_id.as_str().into());
    let rules: Arc<[EffectiveRule]> =
        EffectiveRule::select(&[(scope, 0, &run.config)], device_id).into();
    let mut watch = Watch::new(&run.user_id, device_id, rules);
    let mut version = Version::NONE;
    loop {
        let page = store.read_stream(stream, version, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        version = last.version;
        for raw in page.iter().filter(|raw| *raw.event_type == *READING) {
            let reading: Reading =
                serde_json::from_str(&raw.data).map_err(eventsourcing::event::CodecError::Json)?;
            let outside = run.from.is_some_and(|from| reading.time < from)
                || run.to.is_some_and(|to| reading.time >= to);
            if outside {
                continue;
            }
            if result.readings >= run.limit {
                result.truncated = true;
                return Ok(());
            }
            result.readings += 1;
            let cause = Cause { position: raw.position, id: raw.id, recorded_at: raw.recorded_at };
            let mut outcomes = Vec::new();
            watch.evaluate(cause, &reading, &mut outcomes);
            for outcome in outcomes {
                let steps = match &outcome.event {
                    Event::AlertRaised(raised) => explain_raised(store, raised).await?,
                    _ => Vec::new(),
                };
                result.fired.push(Fired { outcome, steps });
            }
        }
    }
}

/// Why an alert was raised: its readings are looked up in the log.
pub async fn explain_raised(
    store: &EventStore,
    raised: &domain::alerts::Raised,
) -> Result<Vec<domain::alerts::Step>, LoadError> {
    let events = store.at_positions(&raised.readings).await?;
    let readings = events.iter().map(|raw| {
        let reading =
            serde_json::from_str(&raw.data).map_err(eventsourcing::event::CodecError::Json)?;
        Ok((raw.position, raw.recorded_at, reading))
    });
    let readings = readings.collect::<Result<Vec<_>, LoadError>>()?;
    Ok(domain::alerts::explain(raised, &readings))
}
