//! A session: one sign-in with its refreshes. Each refresh issues a refresh token of the next
//! generation. The token that was just replaced gets the current generation again for a grace period,
//! because two tabs may refresh at once and an answer may be lost (ADR 26). Any other token of an
//! earlier generation is a copy, so its use ends the session for its owner and for the thief.

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

/// Lifetime of a session: 30 days from the sign-in, not extended by refreshes.
pub const LIFETIME: Duration = Duration::from_hours(24 * 30);

/// Returns the stream of a session.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Session::CATEGORY, id)
}

/// Events of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user signed in.
    LoggedIn {
        /// Id of the user.
        user_id: Uuid,
        /// Number of the password the user signed in with, counted from 1.
        password_number: u32,
        /// How often the user had signed out everywhere before.
        #[serde(default, skip_serializing_if = "is_zero")]
        sign_outs: u32,
        /// Time at which the session ends.
        expires_at: DateTime<Utc>,
    },
    /// The current refresh token was used and replaced.
    SessionRefreshed {
        /// Generation of the new refresh token.
        generation: u32,
        /// Time of the refresh; `None` in events of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<DateTime<Utc>>,
    },
    /// The session ended before it expired.
    SessionRevoked {
        /// Why it ended.
        reason: Reason,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Why a session ended before it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The user signed out, here or everywhere, or ended the session from another one.
    Logout,
    /// A refresh token was used again after its grace period.
    Reuse,
    /// The user's password changed after the sign-in.
    PasswordChanged,
}

/// `serde` passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Commands of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Begins the session. The caller has verified the password.
    Begin {
        /// Id of the user.
        user_id: Uuid,
        /// Number of the verified password.
        password_number: u32,
        /// How often the user has signed out everywhere.
        sign_outs: u32,
        /// Current time.
        now: DateTime<Utc>,
    },
    /// Replaces the refresh token.
    Refresh {
        /// Generation of the presented refresh token.
        generation: u32,
        /// Number of the user's current password.
        password_number: u32,
        /// How often the user has signed out everywhere.
        sign_outs: u32,
        /// Current time.
        now: DateTime<Utc>,
        /// How long a token that was replaced gets the current generation again.
        grace: Duration,
    },
    /// Ends the session.
    Revoke {
        /// Why it ends.
        reason: Reason,
    },
    /// Ends the session at the request of a user, if it is one of theirs and has not ended.
    End {
        /// Id of the user.
        user_id: Uuid,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A session with this id exists already.
    #[error("the session was begun already")]
    AlreadyBegun,
    /// The session does not exist, or the token's generation was never issued. A user who ends a session
    /// gets the same for one of another user and for one that was revoked.
    #[error("the session does not exist")]
    Unknown,
    /// The session expired or was revoked.
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

/// The state of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// The session does not exist yet.
    #[default]
    NotBegun,
    /// The session was not revoked; it may have expired.
    Live(Live),
    /// The session was revoked.
    Revoked,
}

/// The data of a session that was not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Id of the user.
    pub user_id: Uuid,
    /// Number of the password the user signed in with.
    pub password_number: u32,
    /// How often the user had signed out everywhere before.
    #[serde(skip_serializing_if = "is_zero")]
    pub sign_outs: u32,
    /// Generation of the current refresh token, counted from 0.
    pub generation: u32,
    /// Time of the last refresh; `None` before the first one, or if it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Time at which the session ends.
    pub expires_at: DateTime<Utc>,
}

impl Live {
    /// Whether the token of `generation` was replaced by the current one less than `grace` ago. A `now`
    /// before the replacement counts as its time: of two concurrent requests, the one that came first may be
    /// decided last.
    fn just_replaced(&self, generation: u32, now: DateTime<Utc>, grace: Duration) -> bool {
        generation.checked_add(1) == Some(self.generation)
            && self.refreshed_at.is_some_and(|at| (now - at).to_std().unwrap_or_default() < grace)
    }
}

impl Decider for Session {
    const CATEGORY: &'static str = "session";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Begin { user_id, password_number, sign_outs, now }, Self::NotBegun) => {
                let expires_at = now + LIFETIME;
                accept(Event::LoggedIn { user_id, password_number, sign_outs, expires_at })
            }
            (Command::Begin { .. }, Self::Live(_) | Self::Revoked) => {
                reject(Rejection::AlreadyBegun)
            }
            (
                Command::Refresh { generation, password_number, sign_outs, now, grace },
                Self::Live(live),
            ) => {
                if now >= live.expires_at {
                    return reject(Rejection::Ended);
                }
                if password_number != live.password_number {
                    return accept(Event::SessionRevoked { reason: Reason::PasswordChanged });
                }
                if sign_outs != live.sign_outs {
                    return accept(Event::SessionRevoked { reason: Reason::Logout });
                }
                match generation.cmp(&live.generation) {
                    Ordering::Equal => accept(Event::SessionRefreshed {
                        generation: generation.saturating_add(1),
                        at: Some(now),
                    }),
                    Ordering::Less if live.just_replaced(generation, now, grace) => nothing(),
                    Ordering::Less => accept(Event::SessionRevoked { reason: Reason::Reuse }),
                    // A restore from backup lost the refresh that issued this token.
                    Ordering::Greater => reject(Rejection::Unknown),
                }
            }
            (Command::Refresh { .. }, Self::Revoked) => reject(Rejection::Ended),
            (Command::Refresh { .. }, Self::NotBegun) => reject(Rejection::Unknown),
            (Command::Revoke { reason }, Self::Live(_)) => accept(Event::SessionRevoked { reason }),
            (Command::Revoke { .. }, Self::NotBegun | Self::Revoked) => nothing(),
            (Command::End { user_id }, Self::Live(live)) if live.user_id == user_id => {
                accept(Event::SessionRevoked { reason: Reason::Logout })
            }
            (Command::End { .. }, Self::NotBegun | Self::Live(_) | Self::Revoked) => {
                reject(Rejection::Unknown)
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event, self) {
            (Event::LoggedIn { user_id, password_number, sign_outs, expires_at }, _) => {
                Self::Live(Live {
                    user_id: *user_id,
                    password_number: *password_number,
                    sign_outs: *sign_outs,
                    generation: 0,
                    refreshed_at: None,
                    expires_at: *expires_at,
                })
            }
            (Event::SessionRefreshed { generation, at }, Self::Live(live)) => {
                Self::Live(Live { generation: *generation, refreshed_at: *at, ..live })
            }
            (Event::SessionRefreshed { .. }, Self::NotBegun | Self::Revoked) => self,
            (Event::SessionRevoked { .. }, _) => Self::Revoked,
        }
    }
}
