//! An alert of one device and one rule, from the reading that raised it to the one that cleared it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::published::ALERT;
use super::rule::{Rule, Severity, Threshold};
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::event::Position;
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[
    ("alert_raised", 1),
    ("alert_updated", 1),
    ("alert_cleared", 1),
    ("alert_suppressed", 1),
    ("alert_acknowledged", 1),
];

/// Events of an alert. All but the acknowledgement are caused by a reading or a change of rules,
/// which is their causation id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The rule's condition held, and the alert was raised.
    AlertRaised(Box<Raised>),
    /// The value got worse. Recorded at most once a minute, by the time of the readings.
    AlertUpdated {
        /// Device, rule and value.
        #[serde(flatten)]
        notice: Notice,
        /// Number of breaching readings so far.
        breaches: u64,
    },
    /// The alert ended.
    AlertCleared {
        /// Device, rule and value.
        #[serde(flatten)]
        notice: Notice,
        /// Why it ended.
        why: ClearReason,
    },
    /// The rule has raised or updated alerts of the device too often. Recorded in the stream of the last
    /// of them, once; until the given time, no further alert is raised or updated.
    AlertSuppressed {
        /// Device, rule, and the value that was suppressed first.
        #[serde(flatten)]
        notice: Notice,
        /// Time at which the suppression ends, by the log's clock.
        until: DateTime<Utc>,
    },
    /// A user acknowledged the alert.
    AlertAcknowledged {
        /// Subject of the user's token.
        by: String,
        /// Time of the request by the clock of the gateway.
        at: DateTime<Utc>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// The data shared by all events of an alert that follow from a reading: device, rule and value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Id of the user.
    pub user_id: String,
    /// Id of the device.
    pub device_id: String,
    /// Id of the rule, derived from its condition, scope and devices.
    pub rule_id: Uuid,
    /// Condition of the rule as text, such as `battery < 20`.
    pub rule: String,
    /// Severity of the rule.
    pub severity: Severity,
    /// Message of the rule.
    pub message: String,
    /// Value of the rule's field; `None` if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Threshold of the rule; `None` if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Time of the reading by the device's clock, at most its time of receipt; for a change of rules,
    /// the time it was recorded.
    pub time: DateTime<Utc>,
    /// Position of the reading or the change of rules that caused the event.
    pub because: Position,
}

/// The data of a raised alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// Device, rule and value.
    #[serde(flatten)]
    pub notice: Notice,
    /// The rule at that time.
    pub definition: Rule,
    /// Version of the config that held the rule.
    pub rules_version: i64,
    /// Whether the rule is a default rule, rather than the user's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_everybody: bool,
    /// Time of the first of the consecutive breaching readings.
    pub since: DateTime<Utc>,
    /// Number of consecutive breaching readings.
    pub breaches: u64,
    /// Positions of the breaching readings; of more than 16, the first 8 and the last 8.
    pub readings: Vec<Position>,
}

/// Why an alert was cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearReason {
    /// The condition of the rule does not hold any more.
    Recovered,
    /// The rule is not effective for the device any more.
    RuleChanged,
}

/// The state of an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// The alert does not exist yet.
    #[default]
    Unknown,
    /// The alert is raised or cleared; both can be acknowledged.
    Unacknowledged,
    /// The alert is acknowledged.
    Acknowledged,
}

/// Commands of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Acknowledges the alert; does nothing if it is acknowledged already.
    Acknowledge {
        /// Subject of the user's token.
        by: String,
        /// Current time.
        at: DateTime<Utc>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The alert does not exist.
    #[error("the alert does not exist")]
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
    const CATEGORY: &'static str = ALERT;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Acknowledge { by, at }, Self::Unacknowledged) => {
                accept(Event::AlertAcknowledged { by, at })
            }
            (Command::Acknowledge { .. }, Self::Acknowledged) => nothing(), // The first acknowledgement counts.
            (Command::Acknowledge { .. }, Self::Unknown) => reject(Rejection::Unknown),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::AlertRaised(_) => Self::Unacknowledged,
            Event::AlertUpdated { .. }
            | Event::AlertCleared { .. }
            | Event::AlertSuppressed { .. } => self,
            Event::AlertAcknowledged { .. } => Self::Acknowledged,
        }
    }
}
