//! A user: registered once, with a role and a password that can change.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Namespace, PasswordHash, Personal};
use crate::actor::{Actor, Role};
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[
    ("registered", 1),
    ("password_changed", 1),
    ("role_changed", 1),
    ("namespace_changed", 1),
    ("signed_out_everywhere", 1),
];

/// Returns the stream of a user.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(User::CATEGORY, id)
}

/// Events of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user registered. The only event with personal data.
    Registered {
        /// E-mail address and name.
        personal: Personal,
        /// Hash of password number 1.
        password_hash: PasswordHash,
        /// Initial role.
        role: Role,
        /// Time of the registration by the clock of the gateway.
        registered_at: DateTime<Utc>,
    },
    /// The user changed the password. Earlier sessions end at their next refresh.
    PasswordChanged {
        /// Hash of the new password.
        password_hash: PasswordHash,
    },
    /// An administrator changed the user's role.
    RoleChanged {
        /// New role.
        role: Role,
    },
    /// An administrator gave the user a device namespace, or took it away.
    NamespaceChanged {
        /// New namespace; `null` for none.
        namespace: Option<Namespace>,
    },
    /// The user signed out everywhere. Earlier sessions end at their next refresh.
    SignedOutEverywhere {},
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Commands of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Registers the user.
    Register {
        /// E-mail address and name.
        personal: Personal,
        /// Hash of the password.
        password_hash: PasswordHash,
        /// Initial role.
        role: Role,
        /// Current time.
        now: DateTime<Utc>,
    },
    /// Changes the password. The caller has verified the old password.
    ChangePassword {
        /// Number of the verified password, counted from 1.
        number: u32,
        /// Hash of the new password.
        password_hash: PasswordHash,
    },
    /// Changes the role.
    ChangeRole {
        /// Id of the user whose role changes.
        id: Uuid,
        /// New role.
        role: Role,
        /// Who sends the command; must be another administrator.
        by: Authority,
    },
    /// Changes the device namespace. The caller appends the claim of the new one, and the release of the
    /// old one, in the same request.
    ChangeNamespace {
        /// New namespace; `None` for none.
        namespace: Option<Namespace>,
        /// Who sends the command; must be an administrator.
        by: Authority,
    },
    /// Ends all sessions of the user.
    SignOutEverywhere,
}

/// The actor of a change of role, as the log knows the actor. A token outlives a demotion; the actor's
/// own stream does not, so the stream decides, and the change is appended on the condition that the
/// stream has not changed since. No user can change their own role, so an administrator who takes a
/// role away is still one at that position: one administrator always remains (ADR 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The actor, with the lower of the roles in the token and in the log.
    pub actor: Actor,
    /// Whether the actor is a registered user. The subject of a token made by `tributary token` need
    /// not be.
    pub registered: bool,
}

impl Authority {
    /// Returns the authority of the subject of a token, whose own stream is in the state `user`.
    pub fn of(token: Actor, user: &User) -> Self {
        let (role, registered) = match user {
            User::Nobody => (token.role, false),
            User::Registered(account) => (account.role.min(token.role), true),
        };
        Self { actor: Actor { id: token.id, role }, registered }
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A user with this id is registered already.
    #[error("the user is registered already")]
    AlreadyRegistered,
    /// The user does not exist.
    #[error("the user does not exist")]
    NotRegistered,
    /// The password changed after it was verified.
    #[error("the password was changed concurrently; try again with the current password")]
    PasswordChanged,
    /// Only administrators change roles and give namespaces.
    #[error("only an administrator may change roles and namespaces")]
    NotAdministrator,
    /// Administrators cannot change their own role.
    #[error("administrators cannot change their own role, so that one always remains")]
    OwnRole,
    /// An administrator is demoted by a registered administrator only.
    #[error(
        "the subject of the token is not a registered user; sign in as an administrator to take the \
         role admin from another, so that one always remains"
    )]
    NotRegisteredAdministrator,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotRegistered => Kind::NotFound,
            Self::AlreadyRegistered | Self::PasswordChanged => Kind::Conflict,
            Self::NotAdministrator | Self::OwnRole | Self::NotRegisteredAdministrator => {
                Kind::Forbidden
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRegistered => "user_already_registered",
            Self::NotRegistered => "user_not_found",
            Self::PasswordChanged => "password_changed",
            Self::NotAdministrator => "forbidden",
            Self::OwnRole => "own_role",
            Self::NotRegisteredAdministrator => "not_a_registered_administrator",
        }
    }
}

/// The state of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// The user is not registered. (The variant is named after the word that the API shows.)
    #[default]
    Nobody,
    /// The user is registered.
    Registered(Account),
}

/// The account of a registered user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// E-mail address and name.
    pub personal: Personal,
    /// Hash of the current password; not serialized.
    #[serde(skip_serializing)]
    pub password_hash: PasswordHash,
    /// Number of the current password, counted from 1. A session records the number it was begun
    /// with.
    pub password_number: u32,
    /// How often the user has signed out everywhere. A session records the number it was begun with.
    #[serde(skip_serializing_if = "super::session::is_zero")]
    pub sign_outs: u32,
    /// Current role.
    pub role: Role,
    /// The device namespace; `None` if the user has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Time of the registration.
    pub registered_at: DateTime<Utc>,
}

impl User {
    /// Returns the account, or `None` if the user is not registered.
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
            // Checked first, so that the rejection does not reveal whether the user exists.
            (Command::ChangeRole { by, .. } | Command::ChangeNamespace { by, .. }, _)
                if by.actor.role != Role::Admin =>
            {
                reject(Rejection::NotAdministrator)
            }
            (Command::ChangeRole { id, by, .. }, _) if by.actor.id == id => {
                reject(Rejection::OwnRole)
            }
            (Command::ChangeRole { role, .. }, Self::Registered(account))
                if role == account.role =>
            {
                nothing()
            }
            (Command::ChangeRole { by, .. }, Self::Registered(account))
                if account.role == Role::Admin && !by.registered =>
            {
                reject(Rejection::NotRegisteredAdministrator)
            }
            (Command::ChangeRole { role, .. }, Self::Registered(_)) => {
                accept(Event::RoleChanged { role })
            }
            (Command::ChangePassword { number, password_hash }, Self::Registered(account)) => {
                if number == account.password_number {
                    accept(Event::PasswordChanged { password_hash })
                } else {
                    reject(Rejection::PasswordChanged)
                }
            }
            (Command::ChangeNamespace { namespace, .. }, Self::Registered(account)) => {
                if namespace == account.namespace {
                    return nothing();
                }
                accept(Event::NamespaceChanged { namespace })
            }
            (Command::SignOutEverywhere, Self::Registered(_)) => {
                accept(Event::SignedOutEverywhere {})
            }
            (
                Command::ChangePassword { .. }
                | Command::SignOutEverywhere
                | Command::ChangeRole { .. }
                | Command::ChangeNamespace { .. },
                Self::Nobody,
            ) => reject(Rejection::NotRegistered),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event, self) {
            (Event::Registered { personal, password_hash, role, registered_at }, _) => {
                Self::Registered(Account {
                    personal: personal.clone(),
                    password_hash: password_hash.clone(),
                    password_number: 1,
                    sign_outs: 0,
                    role: *role,
                    namespace: None,
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
            (Event::NamespaceChanged { namespace }, Self::Registered(account)) => {
                Self::Registered(Account { namespace: namespace.clone(), ..account })
            }
            (Event::SignedOutEverywhere {}, Self::Registered(account)) => {
                let sign_outs = account.sign_outs.saturating_add(1);
                Self::Registered(Account { sign_outs, ..account })
            }
            (
                Event::PasswordChanged { .. }
                | Event::SignedOutEverywhere {}
                | Event::RoleChanged { .. }
                | Event::NamespaceChanged { .. },
                Self::Nobody,
            ) => Self::Nobody,
        }
    }
}
