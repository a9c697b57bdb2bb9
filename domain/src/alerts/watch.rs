//! A watch: what the rules in force remember of one device, and the alerts that follow from each
//! of its readings.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alert::{ClearReason, Event, Notice, Raised};
use super::effective_rules::EffectiveRule;
use super::reading::{FieldValue, Reading};
use super::rule_state::{RuleState, Transition};
use eventsourcing::event::Position;
use eventsourcing::fact;

/// The event that something follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub position: Position,
    pub id: Uuid,
    pub recorded_at: DateTime<Utc>,
}

/// An alert's next event, with the id it has for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub alert_id: Uuid,
    pub event_id: Uuid,
    pub event: Event,
    /// What it follows from.
    pub cause: Uuid,
}

/// One device under watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    user_id: Arc<str>,
    device_id: Arc<str>,
    rules: Arc<[EffectiveRule]>,
    state: WatchState,
}

/// What is kept of a watch: all that the past says about the future.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct WatchState {
    /// Everything up to here is in it.
    through: Position,
    #[serde(rename = "tracks")]
    rule_states: BTreeMap<Uuid, RuleState>,
}

impl Watch {
    /// A device nothing is known of.
    pub fn new(user_id: &str, device_id: &str, rules: Arc<[EffectiveRule]>) -> Self {
        let state = WatchState::default();
        Self { user_id: user_id.into(), device_id: device_id.into(), rules, state }
    }

    /// The device as it was stored. `rules` are those in force at the event that is folded next.
    pub fn restore(
        user_id: &str,
        device_id: &str,
        rules: Arc<[EffectiveRule]>,
        stored: &str,
    ) -> Result<Self, serde_json::Error> {
        let state = serde_json::from_str(stored)?;
        Ok(Self { state, ..Self::new(user_id, device_id, rules) })
    }

    /// All that has to be kept of it, as JSON text.
    pub fn store(&self) -> String {
        serde_json::to_string(&self.state).expect("a watch is always JSON")
    }

    /// Everything up to here has been folded; what comes again is passed over.
    pub fn through(&self) -> Position {
        self.state.through
    }

    /// Whether any rule is in force for the device.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether an alert of the device is active.
    pub fn is_alerting(&self) -> bool {
        self.state.rule_states.values().any(|rule_state| rule_state.active().is_some())
    }

    /// Folds a reading; what follows from it goes to `outcomes`.
    pub fn evaluate(&mut self, cause: Cause, reading: &Reading, outcomes: &mut Vec<Outcome>) {
        if cause.position <= self.state.through {
            return;
        }
        self.state.through = cause.position;
        // A clock that runs ahead would make all that is right come too late.
        let time = reading.time.min(cause.recorded_at);
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
            let transition =
                rule_state.evaluate(&effective.rule, verdict, number, time, cause.position);
            let Some(transition) = transition else { continue };
            let (alert_id, event, what) = match transition {
                Transition::Raise(breaches) => {
                    let alert_id = self.alert_id(effective, cause, time);
                    let rule_state = self.state.rule_states.entry(effective.id).or_default();
                    rule_state.raised(alert_id, number, breaches.count);
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
            };
            outcomes.push(outcome(alert_id, event, what, cause, time));
        }
    }

    /// Other rules are in force from here on. What those that are gone remember is forgotten, and
    /// their alerts are cleared.
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

    /// Names the alert after the device, the rule, and the reading that raised it.
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
