//! What one rule remembers of one device, and what the next reading makes of it.
//!
//! ```text
//! calm ──► breaching ──► active ──► calm
//!   ▲          │ calm      │ ▲
//!   └──────────┘           └─┘ worse
//! ```
//! Readings are judged in the order of the log. Time is that of the readings. One that is older
//! than the newest judged already comes too late for this rule: it is kept, and not judged, so
//! whatever order readings arrive in, the alerts are those of the readings that were new when they
//! came.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rule::{Rule, Verdict};
use eventsourcing::event::Position;

/// An alert that gets worse says so at most this often, by the time of the readings.
pub(super) const UPDATE_EVERY: Duration = Duration::from_mins(1);
/// Positions of breaching readings that are remembered: so many of the first, so many of the last.
const KEPT_POSITIONS: usize = 8;

/// What a rule remembers of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RuleState {
    /// Time of the newest reading it judged.
    #[serde(rename = "t", with = "chrono::serde::ts_microseconds_option")]
    last: Option<DateTime<Utc>>,
    #[serde(rename = "p", default, skip_serializing_if = "Phase::is_calm")]
    phase: Phase,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Calm,
    Breaching(Breaches),
    Active {
        alert: Uuid,
        breaches: u64,
        /// Worst value so far, where values can be worse.
        worst: Option<f64>,
        /// Time of the last reading people were told of.
        #[serde(rename = "told")]
        notified_at: DateTime<Utc>,
        /// Calm readings in a row.
        calm: u32,
    },
}

impl Phase {
    fn is_calm(&self) -> bool {
        *self == Self::Calm
    }
}

/// Readings in a row that breached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Breaches {
    pub(super) since: DateTime<Utc>,
    pub(super) count: u64,
    pub(super) readings: Vec<Position>,
}

/// What follows from a reading.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Transition {
    /// An alert is due; its id has to be remembered with [`RuleState::raised`].
    Raise(Breaches),
    Update {
        alert: Uuid,
        breaches: u64,
    },
    Clear {
        alert: Uuid,
    },
}

impl RuleState {
    /// Judges what a reading has in the rule's field. `value` is the number there, if it is one.
    pub(super) fn evaluate(
        &mut self,
        rule: &Rule,
        verdict: Verdict,
        value: Option<f64>,
        time: DateTime<Utc>,
        position: Position,
    ) -> Option<Transition> {
        if self.last.is_some_and(|last| time < last) {
            return None;
        }
        self.last = Some(time);
        match (&mut self.phase, verdict) {
            (Phase::Calm, Verdict::Breach) => {
                let first = Breaches { since: time, count: 1, readings: vec![position] };
                self.breach(rule, first, time)
            }
            (Phase::Breaching(breaches), Verdict::Breach) => {
                breaches.add(position);
                let breaches = breaches.clone();
                self.breach(rule, breaches, time)
            }
            (Phase::Calm, Verdict::Hysteresis | Verdict::Calm) => None,
            (Phase::Breaching(_), Verdict::Hysteresis | Verdict::Calm) => {
                self.phase = Phase::Calm;
                None
            }
            (Phase::Active { calm, .. }, Verdict::Hysteresis) => {
                *calm = 0;
                None
            }
            (Phase::Active { alert, calm, .. }, Verdict::Calm) => {
                *calm += 1;
                let (alert, enough) = (*alert, *calm >= rule.clear_times);
                enough.then(|| {
                    self.phase = Phase::Calm;
                    Transition::Clear { alert }
                })
            }
            (Phase::Active { alert, breaches, worst, notified_at, calm }, Verdict::Breach) => {
                *calm = 0;
                *breaches += 1;
                let worse = is_worse(rule, value, *worst);
                if worse {
                    *worst = value;
                }
                let wait = chrono::TimeDelta::from_std(UPDATE_EVERY).unwrap_or_default();
                (worse && time - *notified_at >= wait).then(|| {
                    *notified_at = time;
                    Transition::Update { alert: *alert, breaches: *breaches }
                })
            }
        }
    }

    fn breach(
        &mut self,
        rule: &Rule,
        breaches: Breaches,
        time: DateTime<Utc>,
    ) -> Option<Transition> {
        let held = (time - breaches.since).to_std().unwrap_or_default();
        let due = breaches.count >= u64::from(rule.times)
            && rule.held_for.is_none_or(|least| held >= least.0);
        self.phase = Phase::Breaching(breaches.clone());
        due.then_some(Transition::Raise(breaches))
    }

    /// Remembers the alert that was raised.
    pub(super) fn raised(&mut self, alert: Uuid, value: Option<f64>, breaches: u64) {
        if let Some(notified_at) = self.last {
            self.phase = Phase::Active { alert, breaches, worst: value, notified_at, calm: 0 };
        }
    }

    /// The alert that is active, if one is.
    pub(super) fn active(&self) -> Option<Uuid> {
        match &self.phase {
            Phase::Active { alert, .. } => Some(*alert),
            Phase::Calm | Phase::Breaching(_) => None,
        }
    }
}

fn is_worse(rule: &Rule, value: Option<f64>, worst: Option<f64>) -> bool {
    match (rule.operator.worse_direction(), value, worst) {
        (Some(order), Some(value), Some(worst)) => value.partial_cmp(&worst) == Some(order),
        _ => false,
    }
}

impl Breaches {
    fn add(&mut self, position: Position) {
        self.count += 1;
        if self.readings.len() >= 2 * KEPT_POSITIONS {
            self.readings.remove(KEPT_POSITIONS);
        }
        self.readings.push(position);
    }
}
