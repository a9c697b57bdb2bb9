//! Presence: whether a device is there. Its births and wills say so, in any order; where they are
//! silent, or wrong, readings and the lack of them do.
//!
//! 1. A session is named by `boot_id` and `session_seq`. The newest session speaks for the device:
//!    a birth or a will of an older one is ignored.
//! 2. Within a boot the greater `session_seq` is the newer session. Across boots nothing but the
//!    log's order tells: a birth with another `boot_id` begins the newer session, a will with
//!    another `boot_id` is of an older one.
//! 3. A will ends its session for good, also when it comes before the session's birth.
//! 4. A device that is online and silent for longer than its user allows is offline (`inactive`).
//!    Any event of the device between what this rests on and itself overtakes it.
//! 5. A device that is not online and sends a reading is online (`heard`): after `inactive` at
//!    once; after a will once the reading cannot be one that the will has overtaken. Births and
//!    wills between the reading and the decision overtake it; further readings confirm it.
//!
//! So a device without a counter, or whose counter starts again without a `boot_id`, is followed by
//! its readings alone.

mod decision;
mod setting;

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Connection;
use eventsourcing::event::Position;

pub use decision::Decision;
pub(super) use setting::TYPES;
pub use setting::{
    CATEGORY, Command, Event, InactiveAfter, InvalidSpan, Rejection, Setting, stream,
};

/// A reading that arrives so soon after a will may have been sent before it: by two bridges, say,
/// each on its own way. It does not bring the device back.
pub const WILL_GRACE: Duration = Duration::from_secs(5);

/// A session of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub boot_id: String,
    pub seq: i64,
    /// Its will was heard.
    pub ended: bool,
}

/// StatusReason a device is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusReason {
    Birth,
    Will,
    Inactive,
    Heard,
}

impl StatusReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Birth, Self::Will, Self::Inactive, Self::Heard];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Birth => "birth",
            Self::Will => "will",
            Self::Inactive => "inactive",
            Self::Heard => "heard",
        }
    }

    /// Whether it speaks for the device being there.
    pub fn is_online(self) -> bool {
        match self {
            Self::Birth | Self::Heard => true,
            Self::Will | Self::Inactive => false,
        }
    }
}

/// What was told last, with effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub reason: StatusReason,
    pub position: Position,
    pub at: DateTime<Utc>,
    /// When the device became what it is: what is told again changes nothing.
    pub since: DateTime<Utc>,
}

/// A device's presence, folded from its events in the log's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// The newest session there was.
    pub session: Option<Session>,
    /// Missing until anything was told.
    pub status: Option<Status>,
    /// The last reading.
    pub last_reading: Option<Position>,
}

/// How a session that is spoken of stands to the newest one known.
enum Age {
    Older,
    Same,
    Newer,
}

impl Presence {
    pub fn is_online(&self) -> bool {
        self.status.is_some_and(|status| status.reason.is_online())
    }

    /// A reading came.
    pub fn record_reading(&mut self, position: Position) {
        self.last_reading = Some(position);
    }

    /// The device connected, or so it is said.
    pub fn connected(&mut self, connection: &Connection, position: Position, at: DateTime<Utc>) {
        match connection.rests_on {
            None => self.birth(connection, position, at),
            Some(read) => {
                let overtaken = self.status.is_some_and(|status| status.position >= read);
                if !self.is_online() && !overtaken {
                    self.set_status(StatusReason::Heard, position, at);
                }
            }
        }
    }

    /// The device went, or so it is said.
    pub fn disconnected(&mut self, connection: &Connection, position: Position, at: DateTime<Utc>) {
        match connection.rests_on {
            None => self.will(connection, position, at),
            Some(last) => {
                if self.is_online() && self.last_position() <= last {
                    self.set_status(StatusReason::Inactive, position, at);
                }
            }
        }
    }

    /// The device's last event that means anything.
    pub fn last_position(&self) -> Position {
        let status = self.status.map(|status| status.position);
        status.max(self.last_reading).unwrap_or_default()
    }

    fn birth(&mut self, connection: &Connection, position: Position, at: DateTime<Utc>) {
        match self.age(connection, Age::Newer) {
            Age::Older => return,
            Age::Newer => self.begin(connection, false),
            Age::Same => {
                if self.session.as_ref().is_some_and(|session| session.ended) {
                    return;
                }
            }
        }
        self.set_status(StatusReason::Birth, position, at);
    }

    fn will(&mut self, connection: &Connection, position: Position, at: DateTime<Utc>) {
        match self.age(connection, Age::Older) {
            Age::Older => return,
            Age::Same | Age::Newer => self.begin(connection, true),
        }
        self.set_status(StatusReason::Will, position, at);
    }

    /// `other_boot` is what a session of another boot than the known one is taken for.
    fn age(&self, connection: &Connection, other_boot: Age) -> Age {
        let Some(session) = &self.session else {
            return Age::Newer;
        };
        if session.boot_id != connection.boot_id {
            return other_boot;
        }
        match connection.session_seq.cmp(&session.seq) {
            Ordering::Less => Age::Older,
            Ordering::Equal => Age::Same,
            Ordering::Greater => Age::Newer,
        }
    }

    fn begin(&mut self, connection: &Connection, ended: bool) {
        self.session = Some(Session {
            boot_id: connection.boot_id.clone(),
            seq: connection.session_seq,
            ended,
        });
    }

    fn set_status(&mut self, reason: StatusReason, position: Position, at: DateTime<Utc>) {
        let before = self.status.filter(|status| status.reason.is_online() == reason.is_online());
        let since = before.map_or(at, |status| status.since);
        self.status = Some(Status { reason, position, at, since });
    }
}

#[cfg(test)]
mod tests;
