//! Users and how they sign in.
//!
//! Streams: `user-{uuid}` holds a user's registration, role and passwords, `email-{sha256}` says
//! whose an e-mail address is, and `session-{uuid}` what became of one sign-in. Personal data stands
//! in `registered` alone: whoever refers to a user does so by id.

pub mod email_claim;
mod password;
mod personal;
pub mod session;
pub mod user;

pub use email_claim::EmailClaim;
pub use password::PasswordHash;
pub use personal::{EmailAddress, FullName, InvalidEmail, InvalidName, Personal};
pub use session::Session;
pub use user::User;

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::decider::Decider;

pub const CONTEXT: Context = Context {
    name: "users",
    categories: &[User::CATEGORY, EmailClaim::CATEGORY, Session::CATEGORY],
    events: &[user::TYPES, email_claim::TYPES, session::TYPES],
    deciders: &[
        AnyDecider::of::<User>(),
        AnyDecider::of::<EmailClaim>(),
        AnyDecider::of::<Session>(),
    ],
};

/// Member of the events' data that never leaves through the API, though it is no password but a
/// slow hash of one: whoever has it can guess at leisure.
pub const SECRET_MEMBER: &str = "password_hash";

#[cfg(test)]
mod tests;
