//! Errors of commands on users.

use domain::users::{email_claim, namespace, session, user};

/// Why a command on a user failed. No message contains a password or discloses whether an e-mail address
/// is registered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not registered or the password does not match.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// The session ended or never existed; the two are not distinguished.
    #[error("the session has ended")]
    NoSession,
    /// The password given as the current one does not match.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The queue of passwords to hash is full.
    #[error("too many users are signing in; retry later")]
    Busy,
    /// A command on the user failed.
    #[error(transparent)]
    User(#[from] crate::Error<user::Rejection>),
    /// The claim of the e-mail address failed.
    #[error(transparent)]
    Email(#[from] crate::Error<email_claim::Rejection>),
    /// The claim of the namespace failed.
    #[error(transparent)]
    Namespace(#[from] crate::Error<namespace::Rejection>),
    /// A command on the session failed.
    #[error(transparent)]
    Session(#[from] crate::Error<session::Rejection>),
    /// A stream could not be loaded.
    #[error(transparent)]
    Load(#[from] crate::LoadError),
    /// An event could not be encoded.
    #[error("an event cannot be stored")]
    Codec(#[from] eventsourcing::event::CodecError),
    /// The stored hash is not a valid one, or hashing failed.
    #[error("a password could not be hashed")]
    Hash(#[from] argon2::password_hash::Error),
    /// The thread that hashed panicked or was cancelled.
    #[error("the hashing of a password panicked")]
    HashTask(#[from] tokio::task::JoinError),
}

impl From<email_claim::Rejection> for Error {
    fn from(rejection: email_claim::Rejection) -> Self {
        Self::Email(crate::Error::Rejected(rejection))
    }
}

impl From<namespace::Rejection> for Error {
    fn from(rejection: namespace::Rejection) -> Self {
        Self::Namespace(crate::Error::Rejected(rejection))
    }
}
