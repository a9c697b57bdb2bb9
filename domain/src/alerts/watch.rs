//! A watch: the state of the effective rules of one device, and the alert events that its readings
//! cause.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alert::{ClearReason, Event, Notice, Raised};
use super::cause::Cause;
use super::effective_rules::EffectiveRule;
use super::reading::{FieldValue, Reading};
use super::rule_state::{RuleState, Transition};
use eventsourcing::event::Position;
use eventsourcing::fact;

/// An event of an alert to append, with derived ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Id of the alert, the key of its stream.
    pub alert_id: Uuid,
    /// Id of the event.
    pub event_id: Uuid,
    /// The event.
    pub event: Event,
    /// Id of the event that caused it.
    pub cause: Uuid,
}

impl Outcome {
    /// Returns whether the event records that a rule has reached its bound for the device.
    pub fn is_suppression(&self) -> bool {
        matches!(self.event, Event::AlertSuppressed { .. })
    }
}

/// The watch of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    user_id: Arc<str>,
    device_id: Arc<str>,
    rules: Arc<[EffectiveRule]>,
    state: WatchState,
}

/// The stored state of a watch. Its member names in JSON must not change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct WatchState {
    /// Position of the last applied event.
    through: Position,
    #[serde(rename = "tracks")]
    rule_states: BTreeMap<Uuid, RuleState>,
    /// The last reading that was not late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

/// The newest reading of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newest {
    boot_id: Box<str>,
    sequence_id: i64,
    #[serde(with = "chrono::serde::ts_microseconds")]
    time: DateTime<Utc>,
}

impl WatchState {
    /// Records the reading of `time` as the newest, unless it is late. A reading of an earlier time with
    /// a higher sequence number is not: the device's clock was set back, as one of local time is at the
    /// end of summer time. The times of the rules are set back with it.
    fn record(&mut self, reading: &Reading, time: DateTime<Utc>) {
        let Some(sequence_id) = reading.sequence_id else { return };
        let boot_id = reading.boot_id.clone();
        if let Some(newest) = self.newest.as_ref().filter(|newest| time < newest.time) {
            if boot_id != newest.boot_id || sequence_id <= newest.sequence_id {
                return;
            }
            let back = newest.time - time;
            self.rule_states.values_mut().for_each(|rule_state| rule_state.set_back(back));
        }
        self.newest = Some(Newest { boot_id, sequence_id, time });
    }
}

impl Watch {
    /// Creates the watch of a device without history.
    pub fn new(user_id: &str, device_id: &str, rules: Arc<[EffectiveRule]>) -> Self {
        let state = WatchState::default();
        Self { user_id: user_id.into(), device_id: device_id.into(), rules, state }
    }

    /// Restores a watch from `stored`, the result of [`Self::store`]. `rules` are the effective rules
    /// at the next event.
    ///
    /// # Errors
    /// Returns an error if `stored` is not the state of a watch.
    pub fn restore(
        user_id: &str,
        device_id: &str,
        rules: Arc<[EffectiveRule]>,
        stored: &str,
    ) -> Result<Self, serde_json::Error> {
        let state = serde_json::from_str(stored)?;
        Ok(Self { state, ..Self::new(user_id, device_id, rules) })
    }

    /// Returns the state as JSON text, without the rules.
    ///
    /// # Panics
    /// Never: the state is always serializable.
    pub fn store(&self) -> String {
        serde_json::to_string(&self.state).expect("the state of a watch is serializable")
    }

    /// Returns the position of the last applied event. Events up to it are ignored.
    pub fn through(&self) -> Position {
        self.state.through
    }

    /// Returns whether any rule is effective for the device.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Returns whether an alert of the device is active.
    pub fn is_alerting(&self) -> bool {
        self.state.rule_states.values().any(|rule_state| rule_state.active().is_some())
    }

    /// Evaluates a reading and pushes the events it causes to `outcomes`. Returns whether the reading is
    /// late for a rule: older than one that was evaluated before, and therefore not evaluated.
    pub fn evaluate(
        &mut self,
        cause: Cause,
        reading: &Reading,
        outcomes: &mut Vec<Outcome>,
    ) -> bool {
        let mut late = false;
        if cause.position <= self.state.through {
            return late;
        }
        self.state.through = cause.position;
        // A clock that once ran ahead would make all correct readings late.
        let time = reading.time.min(cause.recorded_at);
        self.state.record(reading, time);
        let rules = Arc::clone(&self.rules);
        for effective in &*rules {
            let value = reading.get(&effective.rule.key);
            let Some(verdict) = effective.rule.evaluate(&value) else { continue };
            let number = match value {
                FieldValue::Number(number) => Some(number),
                FieldValue::Text(_)
                | FieldValue::Flag(_)
                | FieldValue::Missing
                | FieldValue::Other => None,
            };
            let rule_state = self.state.rule_states.entry(effective.id).or_default();
            late |= rule_state.is_late(time);
            let transition = rule_state.evaluate(&effective.rule, verdict, number, time, cause);
            let Some(transition) = transition else { continue };
            let (alert_id, event, what) = match transition {
                Transition::Raise(breaches) => {
                    let alert_id = self.alert_id(effective, cause, time);
                    let rule_state = self.state.rule_states.entry(effective.id).or_default();
                    rule_state.raised(alert_id, number, breaches.count, cause.recorded_at);
                    let raised = Raised {
                        notice: self.notice(effective, value, time, cause),
                        definition: effective.rule.clone(),
                        rules_version: effective.version,
                        of_everybody: effective.of_everybody,
                        since: breaches.since,
                        breaches: breaches.count,
                        readings: breaches.readings,
                    };
                    (alert_id, Event::AlertRaised(Box::new(raised)), "raised")
                }
                Transition::Update { alert, breaches } => {
                    let notice = self.notice(effective, value, time, cause);
                    (alert, Event::AlertUpdated { notice, breaches }, "updated")
                }
                Transition::Clear { alert } => {
                    let notice = self.notice(effective, value, time, cause);
                    (alert, Event::AlertCleared { notice, why: ClearReason::Recovered }, "cleared")
                }
                Transition::Suppress { alert, until } => {
                    let notice = self.notice(effective, value, time, cause);
                    (alert, Event::AlertSuppressed { notice, until }, "suppressed")
                }
            };
            outcomes.push(outcome(alert_id, event, what, cause, time));
        }
        late
    }

    /// Replaces the effective rules. The state of removed rules is dropped, and the events that clear
    /// their alerts are pushed to `outcomes`.
    pub fn change_rules(
        &mut self,
        cause: Cause,
        rules: Arc<[EffectiveRule]>,
        outcomes: &mut Vec<Outcome>,
    ) {
        if cause.position > self.state.through {
            self.state.through = cause.position;
            let stays = |id: &Uuid| rules.iter().any(|rule| rule.id == *id);
            let gone = self.rules.iter().filter(|rule| !stays(&rule.id));
            for effective in gone {
                let rule_state = self.state.rule_states.get(&effective.id);
                if let Some(alert) = rule_state.and_then(RuleState::active) {
                    let time = cause.recorded_at;
                    let notice = self.notice(effective, FieldValue::Missing, time, cause);
                    let event = Event::AlertCleared { notice, why: ClearReason::RuleChanged };
                    outcomes.push(outcome(alert, event, "cleared", cause, time));
                }
            }
            self.state.rule_states.retain(|id, _| stays(id));
        }
        self.rules = rules;
    }

    fn notice(
        &self,
        effective: &EffectiveRule,
        value: FieldValue<'_>,
        time: DateTime<Utc>,
        cause: Cause,
    ) -> Notice {
        Notice {
            user_id: self.user_id.to_string(),
            device_id: self.device_id.to_string(),
            rule_id: effective.id,
            rule: effective.rule.label(),
            severity: effective.rule.severity,
            message: effective.rule.message(),
            value: value.to_json(),
            threshold: effective.rule.threshold.clone(),
            time,
            because: cause.position,
        }
    }

    /// Derives the id of an alert from the device, the rule and the reading that raised it.
    fn alert_id(&self, effective: &EffectiveRule, cause: Cause, time: DateTime<Utc>) -> Uuid {
        let (rule, reading) = (effective.id.to_string(), cause.id.to_string());
        let texts = ["alert", &self.user_id, &self.device_id, &rule, &reading];
        fact::id(&texts, &[], time.timestamp_millis())
    }
}

fn outcome(alert_id: Uuid, event: Event, what: &str, cause: Cause, time: DateTime<Utc>) -> Outcome {
    let texts = [what, &alert_id.to_string(), &cause.id.to_string()];
    let event_id = fact::id(&texts, &[], time.timestamp_millis());
    Outcome { alert_id, event_id, event, cause: cause.id }
}
