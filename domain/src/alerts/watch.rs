//! A watch: what the rules in force remember of one device, and the alerts that follow from each
//! of its readings.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::alert::{Cleared, Event, Notice, Raised};
use super::in_force::InForce;
use super::reading::{Measured, Reading};
use super::track::{Track, Turn};
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
    rules: Arc<[InForce]>,
    memory: Memory,
}

/// What is kept of a watch: all that the past says about the future.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// Everything up to here is in it.
    through: Position,
    tracks: BTreeMap<Uuid, Track>,
}

impl Watch {
    /// A device nothing is known of.
    pub fn new(user_id: &str, device_id: &str, rules: Arc<[InForce]>) -> Self {
        let memory = Memory::default();
        Self { user_id: user_id.into(), device_id: device_id.into(), rules, memory }
    }

    /// The device as it was stored. `rules` are those in force at the event that is folded next.
    pub fn restore(
        user_id: &str,
        device_id: &str,
        rules: Arc<[InForce]>,
        stored: &str,
    ) -> Result<Self, serde_json::Error> {
        let memory = serde_json::from_str(stored)?;
        Ok(Self { memory, ..Self::new(user_id, device_id, rules) })
    }

    /// All that has to be kept of it, as JSON text.
    pub fn store(&self) -> String {
        serde_json::to_string(&self.memory).expect("a watch is always JSON")
    }

    /// Everything up to here has been folded; what comes again is passed over.
    pub fn through(&self) -> Position {
        self.memory.through
    }

    /// Whether any rule is in force for the device.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether an alert of the device is active.
    pub fn is_alerting(&self) -> bool {
        self.memory.tracks.values().any(|track| track.active().is_some())
    }

    /// Folds a reading; what follows from it goes to `outcomes`.
    pub fn judge(&mut self, cause: Cause, reading: &Reading, outcomes: &mut Vec<Outcome>) {
        if cause.position <= self.memory.through {
            return;
        }
        self.memory.through = cause.position;
        // A clock that runs ahead would make all that is right come too late.
        let time = reading.time.min(cause.recorded_at);
        let rules = Arc::clone(&self.rules);
        for in_force in &*rules {
            let value = reading.get(&in_force.rule.key);
            let Some(verdict) = in_force.rule.judge(&value) else { continue };
            let number = match value {
                Measured::Number(number) => Some(number),
                Measured::Text(_) | Measured::Flag(_) | Measured::Nothing | Measured::Other => None,
            };
            let track = self.memory.tracks.entry(in_force.id).or_default();
            let turn = track.judge(&in_force.rule, verdict, number, time, cause.position);
            let Some(turn) = turn else { continue };
            let (alert_id, event, what) = match turn {
                Turn::Raise(breaches) => {
                    let alert_id = self.alert_id(in_force, cause, time);
                    let track = self.memory.tracks.entry(in_force.id).or_default();
                    track.raised(alert_id, number, breaches.count);
                    let raised = Raised {
                        notice: self.notice(in_force, value, time, cause),
                        definition: in_force.rule.clone(),
                        rules_version: in_force.version,
                        of_everybody: in_force.of_everybody,
                        since: breaches.since,
                        breaches: breaches.count,
                        readings: breaches.readings,
                    };
                    (alert_id, Event::AlertRaised(Box::new(raised)), "raised")
                }
                Turn::Update { alert, breaches } => {
                    let notice = self.notice(in_force, value, time, cause);
                    (alert, Event::AlertUpdated { notice, breaches }, "updated")
                }
                Turn::Clear { alert } => {
                    let notice = self.notice(in_force, value, time, cause);
                    (alert, Event::AlertCleared { notice, why: Cleared::Recovered }, "cleared")
                }
            };
            outcomes.push(outcome(alert_id, event, what, cause, time));
        }
    }

    /// Other rules are in force from here on. What those that are gone remember is forgotten, and
    /// their alerts are cleared.
    pub fn change(&mut self, cause: Cause, rules: Arc<[InForce]>, outcomes: &mut Vec<Outcome>) {
        if cause.position > self.memory.through {
            self.memory.through = cause.position;
            let stays = |id: &Uuid| rules.iter().any(|rule| rule.id == *id);
            let gone = self.rules.iter().filter(|rule| !stays(&rule.id));
            for in_force in gone {
                let track = self.memory.tracks.get(&in_force.id);
                if let Some(alert) = track.and_then(Track::active) {
                    let time = cause.recorded_at;
                    let notice = self.notice(in_force, Measured::Nothing, time, cause);
                    let event = Event::AlertCleared { notice, why: Cleared::RuleChanged };
                    outcomes.push(outcome(alert, event, "cleared", cause, time));
                }
            }
            self.memory.tracks.retain(|id, _| stays(id));
        }
        self.rules = rules;
    }

    fn notice(
        &self,
        in_force: &InForce,
        value: Measured<'_>,
        time: DateTime<Utc>,
        cause: Cause,
    ) -> Notice {
        Notice {
            user_id: self.user_id.to_string(),
            device_id: self.device_id.to_string(),
            rule_id: in_force.id,
            rule: in_force.rule.label(),
            severity: in_force.rule.severity,
            message: in_force.rule.message(),
            value: value.to_json(),
            threshold: in_force.rule.threshold.clone(),
            time,
            because: cause.position,
        }
    }

    /// Names the alert after the device, the rule, and the reading that raised it.
    fn alert_id(&self, in_force: &InForce, cause: Cause, time: DateTime<Utc>) -> Uuid {
        let (rule, reading) = (in_force.id.to_string(), cause.id.to_string());
        let texts = ["alert", &self.user_id, &self.device_id, &rule, &reading];
        fact::id(&texts, &[], time.timestamp_millis())
    }
}

fn outcome(alert_id: Uuid, event: Event, what: &str, cause: Cause, time: DateTime<Utc>) -> Outcome {
    let texts = [what, &alert_id.to_string(), &cause.id.to_string()];
    let event_id = fact::id(&texts, &[], time.timestamp_millis());
    Outcome { alert_id, event_id, event, cause: cause.id }
}
