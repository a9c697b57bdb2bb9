//! Presence: whether a device is online. It follows from births and wills, which may arrive in any
//! order; where they are missing or wrong, from readings and their absence.
//!
//! 1. A session is identified by `boot_id` and `session_seq`. A birth always starts the session that
//!    counts, whatever its number: counters wrap (255 is followed by 0) and restart.
//! 2. A will counts unless it belongs to a session before that of the last birth: one of another boot,
//!    one with a smaller number, or the one that the last birth superseded.
//! 3. A will that arrives before the birth of its session does not outlast that birth; silence then
//!    corrects the status.
//! 4. An online device that sends nothing for longer than its user's setting goes offline
//!    (`inactive`). Any event of the device between the position the decision rests on and the
//!    decision invalidates it.
//! 5. A device that is not online and sends a reading goes online (`heard`): after `inactive` at
//!    once; after a will when [`WILL_GRACE`] is over. Births and wills between the reading and the
//!    decision invalidate it; further readings do not.
//!
//! The will of a session that ended before the counter wrapped or restarted, other than the superseded
//! one, counts as that of a newer session. The next reading corrects the status.

mod decision;
mod setting;

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Connection;
use eventsourcing::event::Position;

pub use decision::Decision;
pub(super) use setting::TYPES;
pub use setting::{
    CATEGORY, Command, Event, InactiveAfter, InvalidSpan, Rejection, Setting, stream,
};

/// How long after a will a reading is ignored, because it may have been sent before the will and
/// delayed by another bridge.
pub const WILL_GRACE: Duration = Duration::from_secs(5);

/// An MQTT session of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Boot id of the device; empty if it sends none.
    pub boot_id: String,
    /// Number of the session within the boot.
    pub seq: i64,
    /// Whether its will was received.
    pub ended: bool,
    /// Number of the session before, of the same boot, that the birth of this one superseded; `None`
    /// if there was none, or if this session is known from its will only.
    pub superseded: Option<i64>,
}

impl Session {
    /// Returns whether the session of the will `will` precedes this one.
    fn succeeds(&self, will: &Connection) -> bool {
        self.boot_id != will.boot_id
            || will.session_seq < self.seq
            || self.superseded == Some(will.session_seq)
    }
}

/// The reason of a device's status: the kind of the event that set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusReason {
    /// Online: the device sent its birth message.
    Birth,
    /// Offline: the device's will was published.
    Will,
    /// Offline: the device sent nothing for too long.
    Inactive,
    /// Online: the device sent a reading.
    Heard,
}

impl StatusReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Birth, Self::Will, Self::Inactive, Self::Heard];

    /// Returns the stable name, as stored in the read model.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Birth => "birth",
            Self::Will => "will",
            Self::Inactive => "inactive",
            Self::Heard => "heard",
        }
    }

    /// Returns whether a device is online for this reason.
    pub fn is_online(self) -> bool {
        match self {
            Self::Birth | Self::Heard => true,
            Self::Will | Self::Inactive => false,
        }
    }
}

/// The status of a device: the last event that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Kind of the event; decides whether the device is online.
    pub reason: StatusReason,
    /// Position of the event.
    pub position: Position,
    /// Time at which the event was recorded.
    pub at: DateTime<Utc>,
    /// Time since when the device has been online or offline; unchanged by events that confirm it.
    pub since: DateTime<Utc>,
}

/// The presence of a device, folded from its events in the order of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Newest session; `None` if no birth or will was received.
    pub session: Option<Session>,
    /// Current status; `None` if no birth, will or decision took effect yet.
    pub status: Option<Status>,
    /// Position of the last reading; `None` if there is none.
    pub last_reading: Option<Position>,
}

impl Presence {
    /// Returns whether the device is online; false if its presence is unknown.
    pub fn is_online(&self) -> bool {
        self.status.is_some_and(|status| status.reason.is_online())
    }

    /// Applies a reading.
    pub fn record_reading(&mut self, position: Position) {
        self.last_reading = Some(position);
    }

    /// Applies a `DeviceConnected` event: a birth, or a decision.
    pub fn connected(&mut self, connection: &Connection, position: Position, at: DateTime<Utc>) {
        match connection.rests_on {
            None => self.birth(connection, position, at),
            Some(read) => {
                let invalidated = self.status.is_some_and(|status| status.position >= read);
                if !self.is_online() && !invalidated {
                    self.set_status(StatusReason::Heard, position, at);
                }
            }
        }
    }

    /// Applies a `DeviceDisconnected` event: a will, or a decision.
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

    /// Returns the position of the last event that affects presence: a reading, or the event that set
    /// the status; 0 if there is none.
    pub fn last_position(&self) -> Position {
        let status = self.status.map(|status| status.position);
        status.max(self.last_reading).unwrap_or_default()
    }

    fn birth(&mut self, birth: &Connection, position: Position, at: DateTime<Utc>) {
        let before = self.session.take().filter(|before| before.boot_id == birth.boot_id);
        let superseded = before.and_then(|before| {
            if before.seq == birth.session_seq { before.superseded } else { Some(before.seq) }
        });
        self.session = Some(Session {
            boot_id: birth.boot_id.clone(),
            seq: birth.session_seq,
            ended: false,
            superseded,
        });
        self.set_status(StatusReason::Birth, position, at);
    }

    fn will(&mut self, will: &Connection, position: Position, at: DateTime<Utc>) {
        let before = self.session.take();
        if let Some(session) = &before
            && session.succeeds(will)
        {
            self.session = before;
            return;
        }
        let superseded = before
            .filter(|before| before.seq == will.session_seq)
            .and_then(|before| before.superseded);
        self.session = Some(Session {
            boot_id: will.boot_id.clone(),
            seq: will.session_seq,
            ended: true,
            superseded,
        });
        self.set_status(StatusReason::Will, position, at);
    }

    fn set_status(&mut self, reason: StatusReason, position: Position, at: DateTime<Utc>) {
        let before = self.status.filter(|status| status.reason.is_online() == reason.is_online());
        let since = before.map_or(at, |status| status.since);
        self.status = Some(Status { reason, position, at, since });
    }
}

#[cfg(test)]
mod tests;
