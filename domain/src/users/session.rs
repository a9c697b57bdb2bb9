//! A session: what follows from one sign-in, until its end. Each refresh makes a new generation, and
//! a token of an older one can only be a copy: somebody else has it, so the session ends for both.

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] =
    &[("logged_in", 1), ("session_refreshed", 1), ("session_revoked", 1)];

/// How long a session lasts, however often it is refreshed.
pub const LIFETIME: Duration = Duration::from_hours(24 * 30);

/// The stream of one session.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Session::CATEGORY, id)
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user signed in, with the password of that number.
    LoggedIn { user_id: Uuid, password_number: u32, expires_at: DateTime<Utc> },
    /// The refresh token of the generation before was used, for the first time.
    SessionRefreshed { generation: u32 },
    /// It ended before its time.
    SessionRevoked { reason: Reason },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The user said so.
    Logout,
    /// A refresh token was used a second time.
    Reuse,
    /// It was begun with a password that no longer holds.
    PasswordChanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The password of that number was checked.
    Begin {
        user_id: Uuid,
        password_number: u32,
        now: DateTime<Utc>,
    },
    Refresh {
        /// Of the token that was shown.
        generation: u32,
        /// Of the user's password now.
        password_number: u32,
        now: DateTime<Utc>,
    },
    Revoke {
        reason: Reason,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this session was begun before")]
    AlreadyBegun,
    #[error("there is no such session")]
    Unknown,
    #[error("the session has ended")]
    Ended,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown => Kind::NotFound,
            Self::AlreadyBegun | Self::Ended => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyBegun => "session_already_begun",
            Self::Unknown => "session_not_found",
            Self::Ended => "session_ended",
        }
    }
}

/// A session as its history leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    #[default]
    NotBegun,
    Live(Live),
    Revoked,
}

/// A session that was not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Live {
    pub user_id: Uuid,
    pub password_number: u32,
    /// Of the one refresh token that may be used; the first is 0.
    pub generation: u32,
    pub expires_at: DateTime<Utc>,
}

impl Decider for Session {
    const CATEGORY: &'static str = "session";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Begin { user_id, password_number, now }, Self::NotBegun) => {
                let expires_at = now + LIFETIME;
                accept(Event::LoggedIn { user_id, password_number, expires_at })
            }
            (Command::Begin { .. }, Self::Live(_) | Self::Revoked) => {
                reject(Rejection::AlreadyBegun)
            }
            (Command::Refresh { generation, password_number, now }, Self::Live(live)) => {
                if now >= live.expires_at {
                    return reject(Rejection::Ended);
                }
                if password_number != live.password_number {
                    return accept(Event::SessionRevoked { reason: Reason::PasswordChanged });
                }
                match generation.cmp(&live.generation) {
                    Ordering::Equal => {
                        accept(Event::SessionRefreshed { generation: generation.saturating_add(1) })
                    }
                    Ordering::Less => accept(Event::SessionRevoked { reason: Reason::Reuse }),
                    // Of a history that a restore from backup has undone.
                    Ordering::Greater => reject(Rejection::Unknown),
                }
            }
            (Command::Refresh { .. }, Self::Revoked) => reject(Rejection::Ended),
            (Command::Refresh { .. }, Self::NotBegun) => reject(Rejection::Unknown),
            (Command::Revoke { reason }, Self::Live(_)) => accept(Event::SessionRevoked { reason }),
            (Command::Revoke { .. }, Self::NotBegun | Self::Revoked) => nothing(),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event, self) {
            (Event::LoggedIn { user_id, password_number, expires_at }, _) => Self::Live(Live {
                user_id: *user_id,
                password_number: *password_number,
                generation: 0,
                expires_at: *expires_at,
            }),
            (Event::SessionRefreshed { generation }, Self::Live(live)) => {
                Self::Live(Live { generation: *generation, ..live })
            }
            (Event::SessionRefreshed { .. }, Self::NotBegun | Self::Revoked) => self,
            (Event::SessionRevoked { .. }, _) => Self::Revoked,
        }
    }
}
