//! Dry runs of rules: the same fold over the past readings of a device, without writing anything.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::alerts::{
    Cause, Config, EffectiveRule, Outcome, READING, Reading, Scope, Watch, alert::Event,
};
use eventsourcing::{StreamId, Version};
use eventstore::EventStore;

use crate::error::LoadError;

/// Most events per read.
const PAGE: usize = 2_000;

/// Rules, and the readings to try them on.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// User whose rules `config` replaces.
    pub user_id: String,
    /// The rules.
    pub config: Config,
    /// Earliest time of a reading, inclusive; `None` for no limit.
    pub from: Option<DateTime<Utc>>,
    /// Latest time of a reading, exclusive; `None` for no limit.
    pub to: Option<DateTime<Utc>>,
    /// Bounds of the run.
    pub limits: DryRunLimits,
}

/// Bounds of a dry run.
#[derive(Debug, Clone, Copy)]
pub struct DryRunLimits {
    /// Most readings evaluated.
    pub readings: usize,
    /// Most alert events in the result.
    pub alerts: usize,
}

/// Result of a dry run.
#[derive(Debug, Default)]
pub struct DryRunResult {
    /// Number of readings evaluated.
    pub readings: usize,
    /// Whether the run ended at one of its limits.
    pub truncated: bool,
    /// Alert events that would have followed, in order.
    pub fired: Vec<Fired>,
}

/// An alert event that would have been appended.
#[derive(Debug)]
pub struct Fired {
    /// The event and the id of its alert.
    pub outcome: Outcome,
    /// For a raised alert, the evaluation of each reading that led to it; empty for other events.
    pub steps: Vec<domain::alerts::Step>,
}

/// Evaluates the readings of the device of `stream`, and adds the events that follow to `result`.
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
            if result.readings >= run.limits.readings {
                result.truncated = true;
                return Ok(());
            }
            result.readings += 1;
            let cause = Cause { position: raw.position, id: raw.id, recorded_at: raw.recorded_at };
            let mut outcomes = Vec::new();
            watch.evaluate(cause, &reading, &mut outcomes);
            for outcome in outcomes {
                if result.fired.len() >= run.limits.alerts {
                    result.truncated = true;
                    return Ok(());
                }
                let steps = match &outcome.event {
                    Event::AlertRaised(raised) => explain_raised(store, raised).await?,
                    Event::AlertUpdated { .. }
                    | Event::AlertCleared { .. }
                    | Event::AlertSuppressed { .. }
                    | Event::AlertAcknowledged { .. } => Vec::new(),
                };
                result.fired.push(Fired { outcome, steps });
            }
        }
    }
}

/// Explains why an alert was raised, reading its readings from the log.
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
