//! Why something with users did not come to pass.

use domain::users::{email_claim, session, user};

/// Nothing in it tells a password, or whether an address is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// It ended, or never was; which of them is nobody's business.
    #[error("the session has ended")]
    NoSession,
    #[error("the current password is another one")]
    WrongPassword,
    /// More passwords are to be checked than may wait for it.
    #[error("too many are signing in at this moment")]
    Busy,
    #[error(transparent)]
    User(#[from] crate::Error<user::Rejection>),
    #[error(transparent)]
    Email(#[from] crate::Error<email_claim::Rejection>),
    #[error(transparent)]
    Session(#[from] crate::Error<session::Rejection>),
    #[error(transparent)]
    Load(#[from] crate::LoadError),
    #[error("an event cannot be stored")]
    Codec(#[from] eventsourcing::event::CodecError),
    #[error("a password could not be hashed")]
    Hash(#[from] argon2::password_hash::Error),
    #[error("the hashing of a password was broken off")]
    HashTask(#[from] tokio::task::JoinError),
}

impl From<email_claim::Rejection> for Error {
    fn from(rejection: email_claim::Rejection) -> Self {
        Self::Email(crate::Error::Rejected(rejection))
    }
}
