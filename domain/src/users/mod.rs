//! Users: registration, roles, passwords and sessions.
//!
//! Streams: `user-{uuid}` holds a user's registration, role and passwords, `email-{sha256}` the claim
//! on an e-mail address, `namespace-{name}` that on a device namespace, and `session-{uuid}` one sign-in
//! with its refreshes. Only the event `registered` holds personal data; all other events refer to a user
//! by id.

pub mod email_claim;
pub mod namespace;
mod password;
mod personal;
pub mod session;
pub mod user;

pub use email_claim::EmailClaim;
pub use namespace::{InvalidNamespace, Namespace, NamespaceClaim};
pub use password::PasswordHash;
pub use personal::{EmailAddress, FullName, InvalidEmail, Personal};
pub use session::Session;
pub use user::{Authority, User};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::decider::Decider;
use eventsourcing::union;

/// The context of users and sessions.
pub const CONTEXT: Context = Context {
    name: "users",
    categories: &[
        User::CATEGORY,
        EmailClaim::CATEGORY,
        NamespaceClaim::CATEGORY,
        Session::CATEGORY,
    ],
    events: &[user::TYPES, email_claim::TYPES, namespace::TYPES, session::TYPES],
    deciders: &[
        AnyDecider::of::<User>(),
        AnyDecider::of::<EmailClaim>(),
        AnyDecider::of::<NamespaceClaim>(),
        AnyDecider::of::<Session>(),
    ],
};

/// Member of event data that the API must not return: the password hash, which allows offline
/// guessing. Published: the API removes it from every event.
pub const SECRET_MEMBER: &str = "password_hash";

union! {
    /// Events of users and of their sessions.
    pub enum Event { User(user::Event), Session(session::Event) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod administrators_proptest;
#[cfg(test)]
mod session_proptest;
