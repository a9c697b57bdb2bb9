//! The state of one rule for one device, and its transitions.
//!
//! ```text
//! calm ──► breaching ──► active ──► calm
//!   ▲          │ calm      │ ▲
//!   └──────────┘           └─┘ worse
//! ```
//! Readings are evaluated in the order of the log; durations are measured by the time of the readings.
//! A reading older than the newest evaluated one is late and is not evaluated for this rule, unless
//! the device's clock was set back.
//!
//! How many events a rule causes for a device is bounded in a window of the log's clock, because values
//! and times of readings are the device's choice. The bounds are constants: the same log must cause the
//! same events in every process.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cause::Cause;
use super::rule::{Rule, Verdict};
use eventsourcing::event::Position;

/// Minimum time between two updates of an alert, by the time of the readings.
pub(super) const UPDATE_EVERY: Duration = Duration::from_mins(1);
/// Most alerts that a rule raises for a device in one [`WINDOW`].
pub(super) const MAX_RAISED: u32 = 5;
/// Most updates of a rule's alerts for a device in one [`WINDOW`].
pub(super) const MAX_UPDATED: u32 = 60;
/// Length of a window, by the log's clock. It begins with the first alert after the window before.
pub(super) const WINDOW: Duration = Duration::from_hours(1);
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
    /// Events counted in the current window; `None` before the first alert.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
}

/// The events of a rule for a device in one [`WINDOW`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Window {
    #[serde(rename = "s", with = "chrono::serde::ts_microseconds")]
    since: DateTime<Utc>,
    #[serde(rename = "r")]
    raised: u32,
    #[serde(rename = "u")]
    updated: u32,
    /// The last alert.
    #[serde(rename = "a")]
    alert: Uuid,
    /// Whether an event was suppressed.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    suppressed: bool,
}

impl Window {
    fn new(alert: Uuid, since: DateTime<Utc>) -> Self {
        Self { since, raised: 0, updated: 0, alert, suppressed: false }
    }

    fn until(&self) -> DateTime<Utc> {
        self.since + WINDOW
    }

    /// Suppresses an event. Returns a transition the first time.
    fn suppress(&mut self) -> Option<Transition> {
        let first = !std::mem::replace(&mut self.suppressed, true);
        first.then(|| Transition::Suppress { alert: self.alert, until: self.until() })
    }
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
    /// The bound is reached: until then no alert is raised or updated. Once in a window.
    Suppress {
        /// The last alert.
        alert: Uuid,
        until: DateTime<Utc>,
    },
}

impl RuleState {
    /// Applies the verdict on a reading and returns the transition it causes, if any. `value` is the
    /// value of the rule's field if it is a number, `time` the time of the reading.
    pub(super) fn evaluate(
        &mut self,
        rule: &Rule,
        verdict: Verdict,
        value: Option<f64>,
        time: DateTime<Utc>,
        cause: Cause,
    ) -> Option<Transition> {
        if self.is_late(time) {
            return None;
        }
        self.last = Some(time);
        if self.window.as_ref().is_some_and(|window| cause.recorded_at >= window.until()) {
            self.window = None;
        }
        let position = cause.position;
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
                let wait = TimeDelta::from_std(UPDATE_EVERY).unwrap_or_default();
                if !worse || time - *notified_at < wait {
                    return None;
                }
                let new = || Window::new(*alert, cause.recorded_at);
                let window = self.window.get_or_insert_with(new);
                if window.updated >= MAX_UPDATED {
                    return window.suppress();
                }
                window.updated += 1;
                *notified_at = time;
                Some(Transition::Update { alert: *alert, breaches: *breaches })
            }
        }
    }

    /// Returns whether a reading of `time` is older than one that was evaluated.
    pub(super) fn is_late(&self, time: DateTime<Utc>) -> bool {
        self.last.is_some_and(|last| time < last)
    }

    /// Sets all times of readings back by `back`, as the device's clock was. Durations remain.
    pub(super) fn set_back(&mut self, back: TimeDelta) {
        self.last = self.last.map(|last| last - back);
        match &mut self.phase {
            Phase::Calm => {}
            Phase::Breaching(breaches) => breaches.since -= back,
            Phase::Active { notified_at, .. } => *notified_at -= back,
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
        if !due {
            return None;
        }
        match &mut self.window {
            Some(window) if window.raised >= MAX_RAISED => window.suppress(),
            Some(_) | None => Some(Transition::Raise(breaches)),
        }
    }

    /// Stores the alert that was raised by a reading recorded at `recorded_at`.
    pub(super) fn raised(
        &mut self,
        alert: Uuid,
        value: Option<f64>,
        breaches: u64,
        recorded_at: DateTime<Utc>,
    ) {
        let window = self.window.get_or_insert_with(|| Window::new(alert, recorded_at));
        window.raised += 1;
        window.alert = alert;
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
