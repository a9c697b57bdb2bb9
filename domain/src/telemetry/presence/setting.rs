//! How long a user's devices may be silent before they are taken for gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::UserId;
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, accept, nothing};
use eventsourcing::rejection::{Kind, Reject};

/// Category of the streams of settings.
pub const CATEGORY: &str = "presence";

pub(in super::super) const TYPES: &[(&str, i16)] = &[("presence_configured", 1)];

/// The stream of a user's setting.
pub fn stream(user_id: &UserId) -> StreamId {
    StreamId::new(CATEGORY, user_id)
}

/// What happened to a user's setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The user, or an operator for the user, chose.
    PresenceConfigured {
        user_id: UserId,
        /// Milliseconds of silence; `null` for the default of the system.
        inactive_after_ms: Option<i64>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// A length of silence within bounds, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InactiveAfter(Duration);

impl InactiveAfter {
    /// Shorter ones would only measure how we look.
    pub const MIN: Duration = Duration::from_secs(1);
    /// Longer ones would not be looked at by anybody.
    pub const MAX: Duration = Duration::from_hours(7 * 24);

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device may be silent for 1 second to 7 days")]
pub struct InvalidSpan;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `None` goes back to the default.
    Configure { user_id: UserId, inactive_after: Option<InactiveAfter> },
}

/// Nothing is refused here: a span out of bounds cannot be said.
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

/// A user's setting as its history leaves it; the default where nothing was ever chosen.
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
