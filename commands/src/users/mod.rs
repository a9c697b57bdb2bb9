//! Users: hashing of passwords, lookup of e-mail addresses, and sessions. Everything is read from the
//! log, so a new user can sign in however far behind the read models are.

mod error;
mod namespace;
mod password;
mod role;
mod sign_in;

pub use error::Error;
pub use password::{InvalidPassword, MAX_QUEUED_HASHES, Password, Plain};
pub use sign_in::{RefreshToken, SignedIn};

use chrono::{DateTime, SubsecRound, Utc};
use domain::Role;
use domain::users::user::{self, Account};
use domain::users::{
    EmailAddress, EmailClaim, Namespace, NamespaceClaim, Personal, Session, User, email_claim,
};
use eventsourcing::{Decider, Position, Version};
use eventstore::{EventStore, ExpectedVersion, NewEvent, StreamAppend};
use password::Passwords;
use uuid::Uuid;

use crate::Loaded;
use crate::handler::{Done, Envelope, Handler};

/// Handler of users, their e-mail addresses and their sessions.
#[derive(Debug)]
pub struct Users {
    accounts: Handler<User>,
    emails: Handler<EmailClaim>,
    namespaces: Handler<NamespaceClaim>,
    sessions: Handler<Session>,
    passwords: Passwords,
    store: EventStore,
}

/// A registration of a user.
#[derive(Debug)]
pub struct Registration {
    /// Id of the new user.
    pub id: Uuid,
    /// E-mail address and full name.
    pub personal: Personal,
    /// The password, hashed before it is stored.
    pub password: Password,
    /// Role of the new user.
    pub role: Role,
    /// Time of the registration.
    pub now: DateTime<Utc>,
}

/// A user as loaded from the log.
#[derive(Debug)]
pub struct LoadedUser {
    /// The user's account.
    pub account: Account,
    /// Version of the user's stream.
    pub version: Version,
    /// Position of the user's last event.
    pub position: Position,
}

impl Users {
    /// Makes a handler with empty caches.
    pub fn new(store: EventStore) -> Self {
        Self {
            accounts: Handler::new(store.clone()),
            emails: Handler::new(store.clone()),
            namespaces: Handler::new(store.clone()),
            sessions: Handler::new(store.clone()),
            passwords: Passwords::new(),
            store,
        }
    }

    /// Registers a user. The append claims the e-mail address, so of two concurrent registrations of
    /// one address one is rejected.
    pub async fn register(
        &self,
        registration: Registration,
        mut envelope: Envelope,
    ) -> Result<Done, Error> {
        let Registration { id, personal, password, role, now } = registration;
        let password_hash = self.passwords.hash(password).await?;
        let claimed = EmailClaim::Free.decide(email_claim::Command::Claim { user_id: id })?;
        envelope.also.push(StreamAppend {
            stream: email_claim::stream(&personal.email),
            expected: ExpectedVersion::NoStream,
            events: claimed.iter().map(NewEvent::new).collect::<Result<_, _>>()?,
        });
        let command = user::Command::Register { personal, password_hash, role, now };
        match self.accounts.create(&user::stream(id), command, envelope).await {
            Err(crate::Error::Conflict(stream)) if stream.category() == EmailClaim::CATEGORY => {
                Err(email_claim::Rejection::Taken.into())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Loads the user of this id; `None` if there is none.
    pub async fn find(&self, id: Uuid) -> Result<Option<LoadedUser>, Error> {
        let Loaded { state, version, position } = self.accounts.load(&user::stream(id)).await?;
        Ok(state.account().map(|account| LoadedUser { account, version, position }))
    }

    /// Returns the device namespace of the user `id`; `None` if the user has none, or does not exist.
    pub async fn namespace_of(&self, id: Uuid) -> Result<Option<Namespace>, crate::LoadError> {
        let account = self.accounts.load(&user::stream(id)).await?.state.account();
        Ok(account.and_then(|account| account.namespace))
    }

    /// Returns the id of the user of this e-mail address; `None` if it is free.
    pub async fn owner_of(&self, email: &EmailAddress) -> Result<Option<Uuid>, Error> {
        match self.emails.load(&email_claim::stream(email)).await?.state {
            EmailClaim::Free => Ok(None),
            EmailClaim::Taken { by } => Ok(Some(by)),
        }
    }

    /// Whether `password` is the one the user registered with, for a repeated registration. True if
    /// the password has been changed since, as it cannot be verified then.
    pub async fn registered_with(&self, id: Uuid, password: Password) -> Result<bool, Error> {
        match self.find(id).await? {
            Some(LoadedUser { account, .. }) if account.password_number == 1 => {
                self.passwords.verify(password.into(), account.password_hash).await
            }
            Some(_) | None => Ok(true),
        }
    }

    /// Changes the password of a user who knows the current one. A repeated request succeeds because
    /// the new password is in place; it needs no idempotency key, whose receipt would hold a fast hash
    /// of passwords.
    pub async fn change_password(
        &self,
        id: Uuid,
        current: Plain,
        new: Password,
        envelope: Envelope,
    ) -> Result<Done, Error> {
        let found = self.find(id).await?;
        let not_registered = crate::Error::Rejected(user::Rejection::NotRegistered);
        let LoadedUser { account, version, position } = found.ok_or(not_registered)?;
        let nothing_to_do = Done::nothing_new(position, version);
        let number = account.password_number;
        let hash = account.password_hash;
        if !self.passwords.verify(current.clone(), hash.clone()).await? {
            let new_already = self.passwords.verify(new.into(), hash).await?;
            return if new_already { Ok(nothing_to_do) } else { Err(Error::WrongPassword) };
        }
        if new.is(&current) {
            return Ok(nothing_to_do);
        }
        let password_hash = self.passwords.hash(new).await?;
        let command = user::Command::ChangePassword { number, password_hash };
        Ok(self.accounts.execute(&user::stream(id), command, envelope).await?)
    }
}

/// Returns the current time in whole microseconds, the precision of Postgres: the response equals what
/// the read model shows later.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
