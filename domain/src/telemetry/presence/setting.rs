//! The presence setting of a user: how long devices may send nothing before they count as offline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::UserId;
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, accept, nothing};
use eventsourcing::rejection::{Kind, Reject};

/// Category of the streams of settings.
pub const CATEGORY: &str = "presence";

pub(in super::super) const TYPES: &[(&str, i16)] = &[("presence_configured", 1)];

/// Returns the stream of a user's setting.
pub fn stream(user_id: &UserId) -> StreamId {
    StreamId::new(CATEGORY, user_id)
}

/// Events of a user's setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The user, or an operator on the user's behalf, changed the setting.
    PresenceConfigured {
        /// Id of the user.
        user_id: UserId,
        /// Milliseconds without a message after which a device is offline; `null` for the system's
        /// default.
        inactive_after_ms: Option<i64>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// The time without a message after which a device is offline, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InactiveAfter(Duration);

impl InactiveAfter {
    /// Minimum: 1 second. Shorter times are below the interval at which presence is checked.
    pub const MIN: Duration = Duration::from_secs(1);
    /// Maximum: 7 days.
    pub const MAX: Duration = Duration::from_hours(7 * 24);

    /// Returns the time in milliseconds.
    pub fn milliseconds(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl TryFrom<Duration> for InactiveAfter {
    type Error = InvalidSpan;

    fn try_from(span: Duration) -> Result<Self, InvalidSpan> {
        if (Self::MIN..=Self::MAX).contains(&span) { Ok(Self(span)) } else { Err(InvalidSpan) }
    }
}

/// The duration is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time until a device counts as inactive is 1 second to 7 days")]
pub struct InvalidSpan;

/// Commands of a user's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Changes the setting.
    Configure {
        /// Id of the user.
        user_id: UserId,
        /// New setting; `None` restores the system's default.
        inactive_after: Option<InactiveAfter>,
    },
}

/// No command is refused: [`InactiveAfter`] cannot hold a duration out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match *self {}
    }

    fn code(&self) -> &'static str {
        match *self {}
    }
}

/// The setting of a user; initially the system's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Setting {
    inactive_after_ms: Option<i64>,
}

impl Decider for Setting {
    const CATEGORY: &'static str = CATEGORY;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> eventsourcing::Decision<Self> {
        match command {
            Command::Configure { user_id, inactive_after } => {
                let inactive_after_ms = inactive_after.map(InactiveAfter::milliseconds);
                if inactive_after_ms == self.inactive_after_ms {
                    return nothing();
                }
                accept(Event::PresenceConfigured { user_id, inactive_after_ms })
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::PresenceConfigured { inactive_after_ms, .. } => {
                Self { inactive_after_ms: *inactive_after_ms }
            }
        }
    }
}
