//! A user: registered once; then roles and passwords change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PasswordHash, Personal};
use crate::actor::{Actor, Role};
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] =
    &[("registered", 1), ("password_changed", 1), ("role_changed", 1)];

/// The stream of one user.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(User::CATEGORY, id)
}

/// What happened to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody became a user. The only event with personal data in it.
    Registered {
        personal: Personal,
        password_hash: PasswordHash,
        role: Role,
        registered_at: DateTime<Utc>,
    },
    /// Sessions that were begun with an earlier password end at their next refresh.
    PasswordChanged { password_hash: PasswordHash },
    /// An administrator said what the user may do from now on.
    RoleChanged { role: Role },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Register {
        personal: Personal,
        password_hash: PasswordHash,
        role: Role,
        now: DateTime<Utc>,
    },
    /// The old password was checked; it was the one of this number.
    ChangePassword {
        number: u32,
        password_hash: PasswordHash,
    },
    ChangeRole {
        /// The user whose role it is.
        id: Uuid,
        role: Role,
        by: Actor,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this user is registered already")]
    AlreadyRegistered,
    #[error("there is no such user")]
    NotRegistered,
    #[error("the password was changed in between")]
    PasswordChanged,
    #[error("only an administrator says who is what")]
    NotAdministrator,
    #[error("administrators do not change their own role, so that one is always left")]
    OwnRole,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotRegistered => Kind::NotFound,
            Self::AlreadyRegistered | Self::PasswordChanged => Kind::Conflict,
            Self::NotAdministrator | Self::OwnRole => Kind::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRegistered => "user_already_registered",
            Self::NotRegistered => "user_not_found",
            Self::PasswordChanged => "password_changed",
            Self::NotAdministrator => "forbidden",
            Self::OwnRole => "own_role",
        }
    }
}

/// A user as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    #[default]
    Nobody,
    Registered(Account),
}

/// Somebody who is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    pub personal: Personal,
    #[serde(skip_serializing)]
    pub password_hash: PasswordHash,
    /// The first password is number 1. Tells a session which password it was begun with.
    pub password_number: u32,
    pub role: Role,
    pub registered_at: DateTime<Utc>,
}

impl User {
    /// The account of somebody who registered.
    pub fn account(self) -> Option<Account> {
        match self {
            Self::Nobody => None,
            Self::Registered(account) => Some(account),
        }
    }
}

impl Decider for User {
    const CATEGORY: &'static str = "user";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Register { personal, password_hash, role, now }, Self::Nobody) => {
                accept(Event::Registered { personal, password_hash, role, registered_at: now })
            }
            (Command::Register { .. }, Self::Registered(_)) => reject(Rejection::AlreadyRegistered),
            // Said first, so that nobody learns from the refusal who is registered.
            (Command::ChangeRole { by, .. }, _) if by.role != Role::Admin => {
                reject(Rejection::NotAdministrator)
            }
            (Command::ChangeRole { id, by, .. }, _) if by.id == id => reject(Rejection::OwnRole),
            (Command::ChangeRole { role, .. }, Self::Registered(account)) => {
                if role == account.role { nothing() } else { accept(Event::RoleChanged { role }) }
            }
            (Command::ChangePassword { number, password_hash }, Self::Registered(account)) => {
                if number == account.password_number {
                    accept(Event::PasswordChanged { password_hash })
                } else {
                    reject(Rejection::PasswordChanged)
                }
            }
            (Command::ChangePassword { .. } | Command::ChangeRole { .. }, Self::Nobody) => {
                reject(Rejection::NotRegistered)
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event, self) {
            (Event::Registered { personal, password_hash, role, registered_at }, _) => {
                Self::Registered(Account {
                    personal: personal.clone(),
                    password_hash: password_hash.clone(),
                    password_number: 1,
                    role: *role,
                    registered_at: *registered_at,
                })
            }
            (Event::PasswordChanged { password_hash }, Self::Registered(account)) => {
                Self::Registered(Account {
                    password_hash: password_hash.clone(),
                    password_number: account.password_number.saturating_add(1),
                    ..account
                })
            }
            (Event::RoleChanged { role }, Self::Registered(account)) => {
                Self::Registered(Account { role: *role, ..account })
            }
            (Event::PasswordChanged { .. } | Event::RoleChanged { .. }, Self::Nobody) => {
                Self::Nobody
            }
        }
    }
}
