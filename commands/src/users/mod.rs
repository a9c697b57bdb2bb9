//! Users: the few steps around the decisions that need I/O, which is hashing passwords and reading
//! whose an e-mail address is. All of it is read from the log, so that whoever has just registered
//! can sign in, however far behind the read models are.

mod error;
mod password;
mod sign_in;

pub use error::Error;
pub use password::{InvalidPassword, MAX_QUEUED_HASHES, Password, Plain};
pub use sign_in::SignedIn;

use chrono::{DateTime, SubsecRound, Utc};
use domain::Role;
use domain::users::user::{self, Account};
use domain::users::{EmailAddress, EmailClaim, Personal, Session, User, email_claim};
use eventsourcing::{Decider, Position, Version};
use eventstore::{EventStore, ExpectedVersion, NewEvent, StreamAppend};
use password::Passwords;
use uuid::Uuid;

use crate::handler::{Done, Envelope, Handler, Loaded};

/// Handles users, their addresses and their sessions.
#[derive(Debug)]
pub struct Users {
    pub accounts: Handler<User>,
    emails: Handler<EmailClaim>,
    sessions: Handler<Session>,
    passwords: Passwords,
}

/// Somebody who wants to be a user.
#[derive(Debug)]
pub struct Registration {
    pub id: Uuid,
    pub personal: Personal,
    pub password: Password,
    pub role: Role,
    pub now: DateTime<Utc>,
}

/// A user, read from the log.
#[derive(Debug)]
pub struct LoadedUser {
    pub account: Account,
    pub version: Version,
    pub position: Position,
}

impl Users {
    pub fn new(store: EventStore) -> Self {
        Self {
            accounts: Handler::new(store.clone()),
            emails: Handler::new(store.clone()),
            sessions: Handler::new(store),
            passwords: Passwords::new(),
        }
    }

    /// Registers a user. That the address is nobody's is checked in the append itself: of two at
    /// once, one is refused.
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

    /// The user of this id, if there is one.
    pub async fn find(&self, id: Uuid) -> Result<Option<LoadedUser>, Error> {
        let Loaded { state, version, position } = self.accounts.load(&user::stream(id)).await?;
        Ok(state.account().map(|account| LoadedUser { account, version, position }))
    }

    /// Whose the address is.
    pub async fn owner_of(&self, email: &EmailAddress) -> Result<Option<Uuid>, Error> {
        match self.emails.load(&email_claim::stream(email)).await?.state {
            EmailClaim::Free => Ok(None),
            EmailClaim::Taken { by } => Ok(Some(by)),
        }
    }

    /// Whether a registration that came again came with the password it came with first. Once that
    /// was changed it can no longer be told, and the answer is yes.
    pub async fn registered_with(&self, id: Uuid, password: Password) -> Result<bool, Error> {
        match self.find(id).await? {
            Some(LoadedUser { account, .. }) if account.password_number == 1 => {
                self.passwords.verify(password.into(), account.password_hash).await
            }
            Some(_) | None => Ok(true),
        }
    }

    /// Gives a user who knows the old password a new one. Sent again it finds the new one in place,
    /// and that is that: it needs no idempotency key, whose receipt would tell of passwords.
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
        let nothing_to_do = Done { position, version, replayed: None };
        let number = account.password_number;
        let kept = account.password_hash;
        if !self.passwords.verify(current.clone(), kept.clone()).await? {
            let new_already = self.passwords.verify(new.into(), kept).await?;
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

/// The time now, as precisely as Postgres keeps it: what was answered is what will be read.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}
