//! An alert: one device, one rule, from the reading that raised it to the one that cleared it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::rule::{Rule, Severity, Threshold};
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::event::{Position, StreamId};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const CATEGORY: &str = "alert";

pub(super) const TYPES: &[(&str, i16)] =
    &[("alert_raised", 1), ("alert_updated", 1), ("alert_cleared", 1), ("alert_acknowledged", 1)];

/// The stream of one alert.
pub fn alert_stream(id: Uuid) -> StreamId {
    StreamId::new(CATEGORY, id)
}

/// What happened to an alert. All but the acknowledgement follow from a reading, or from a change
/// of rules: that is their causation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    AlertRaised(Box<Raised>),
    /// It got worse. At most once a minute, by the time of the readings.
    AlertUpdated {
        #[serde(flatten)]
        notice: Notice,
        /// Readings that breached so far.
        breaches: u64,
    },
    AlertCleared {
        #[serde(flatten)]
        notice: Notice,
        why: ClearReason,
    },
    AlertAcknowledged {
        /// Subject of the token it was asked with.
        by: String,
        at: DateTime<Utc>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// What everybody who is told of an alert wants to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    pub user_id: String,
    pub device_id: String,
    pub rule_id: Uuid,
    /// The rule in a few words: `battery < 20`.
    pub rule: String,
    pub severity: Severity,
    pub message: String,
    /// What stood in the field; none if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Of the reading, by the device's clock; but never later than its receipt.
    pub time: DateTime<Utc>,
    /// Position of the reading, or of the change of rules, that led to this.
    pub because: Position,
}

/// An alert was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    #[serde(flatten)]
    pub notice: Notice,
    /// The rule, as it was then.
    pub definition: Rule,
    /// Version of the rules it stood in.
    pub rules_version: i64,
    /// Whether the rule is everybody's, rather than the user's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_everybody: bool,
    /// Time of the first reading in a row that breached.
    pub since: DateTime<Utc>,
    /// Readings in a row that breached.
    pub breaches: u64,
    /// Their positions; of many, the first and the last few.
    pub readings: Vec<Position>,
}

/// Why an alert was cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearReason {
    /// The condition ended.
    Recovered,
    /// The rule is not in force for the device any more.
    RuleChanged,
}

/// An alert, as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    #[default]
    Unknown,
    /// Raised, perhaps cleared: for acknowledging it, that is the same.
    Unacknowledged,
    Acknowledged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Acknowledge { by: String, at: DateTime<Utc> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such alert")]
    Unknown,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown => Kind::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "alert_not_found",
        }
    }
}

impl Decider for Alert {
    const CATEGORY: &'static str = CATEGORY;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Acknowledge { by, at }, Self::Unacknowledged) => {
                accept(Event::AlertAcknowledged { by, at })
            }
            (Command::Acknowledge { .. }, Self::Acknowledged) => nothing(), // The first one counts.
            (Command::Acknowledge { .. }, Self::Unknown) => reject(Rejection::Unknown),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::AlertRaised(_) => Self::Unacknowledged,
            Event::AlertUpdated { .. } | Event::AlertCleared { .. } => self,
            Event::AlertAcknowledged { .. } => Self::Acknowledged,
        }
    }
}
