//! The state of one rule for one device, and its transitions.
//!
//! ```text
//! calm ──► breaching ──► active ──► calm
//!   ▲          │ calm      │ ▲
//!   └──────────┘           └─┘ worse
//! ```
//! Readings are evaluated in the order of the log; durations are measured by the time of the readings.
//! A reading older than the newest evaluated one is late and is not evaluated for this rule.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rule::{Rule, Verdict};
use eventsourcing::event::Position;

/// Minimum time between two updates of an alert, by the time of the readings.
pub(super) const UPDATE_EVERY: Duration = Duration::from_mins(1);
/// How many positions of breaching readings are kept: this many of the first and of the last.
const KEPT_POSITIONS: usize = 8;

/// The state of a rule for a device. Its JSON is stored; member names must not change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RuleState {
    /// Time of the newest evaluated reading; `None` if there is none.
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
        /// Worst value so far; `None` if values of the rule have no order.
        worst: Option<f64>,
        /// Time of the reading of the last event of the alert.
        #[serde(rename = "told")]
        notified_at: DateTime<Utc>,
        /// Number of consecutive calm readings.
        calm: u32,
    },
}

impl Phase {
    fn is_calm(&self) -> bool {
        *self == Self::Calm
    }
}

/// Consecutive breaching readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Breaches {
    pub(super) since: DateTime<Utc>,
    pub(super) count: u64,
    pub(super) readings: Vec<Position>,
}

/// The transition that a reading causes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Transition {
    /// An alert is due. The caller derives its id and stores it with [`RuleState::raised`].
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
    /// Applies the verdict on a reading and returns the transition it causes, if any. `value` is the
    /// value of the rule's field if it is a number.
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

    /// Stores the alert that was raised.
    pub(super) fn raised(&mut self, alert: Uuid, value: Option<f64>, breaches: u64) {
        if let Some(notified_at) = self.last {
            self.phase = Phase::Active { alert, breaches, worst: value, notified_at, calm: 0 };
        }
    }

    /// Returns the id of the active alert, or `None` if none is active.
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
