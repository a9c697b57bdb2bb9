//! Sessions: sign-in, refresh and sign-out.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::Role;
use domain::users::Session;
use domain::users::session::{self, Live, Reason};
use domain::users::user::{self, Account};
use eventsourcing::Metadata;
use uuid::Uuid;

use super::{Error, LoadedUser, Plain, Users};
use crate::LoadError;
use crate::handler::{Done, Envelope};

/// The claims of the tokens of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedIn {
    /// Id of the user.
    pub user_id: Uuid,
    /// The role at this time; a later change takes effect at the next refresh.
    pub role: Role,
    /// Id of the session.
    pub session: Uuid,
    /// Number of the refresh token that may be used next.
    pub generation: u32,
    /// When the session ends.
    pub expires_at: DateTime<Utc>,
}

/// A refresh token that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// Id of the session.
    pub session: Uuid,
    /// Id of the user.
    pub user_id: Uuid,
    /// Number of the token in its session.
    pub generation: u32,
    /// How long after its replacement the token gets the current one again.
    pub grace: Duration,
}

impl Users {
    /// Begins a session. An unknown e-mail address and a wrong password take equally long and return
    /// the same error.
    pub async fn log_in(
        &self,
        email: &str,
        password: Plain,
        metadata: Metadata,
    ) -> Result<SignedIn, Error> {
        let id = match email.parse() {
            Ok(email) => self.owner_of(&email).await?,
            Err(_no_address) => None,
        };
        // An unknown address reads an empty stream, so it takes the same steps.
        let id = id.unwrap_or_default();
        let account = self.find(id).await?.map(|found| found.account);
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let verified = self.passwords.verify_or_reject(password, hash).await?;
        let account = account.filter(|_| verified).ok_or(Error::WrongCredentials)?;
        self.begin(id, &account, metadata).await
    }

    /// Begins a session of the user `id` without a password, for a caller who was authenticated in another
    /// way.
    pub async fn begin_session(&self, id: Uuid, metadata: Metadata) -> Result<SignedIn, Error> {
        let LoadedUser { account, .. } = self.find(id).await?.ok_or(Error::WrongCredentials)?;
        self.begin(id, &account, metadata).await
    }

    async fn begin(
        &self,
        user_id: Uuid,
        account: &Account,
        metadata: Metadata,
    ) -> Result<SignedIn, Error> {
        let session = Uuid::now_v7();
        let stream = session::stream(session);
        let Account { password_number, sign_outs, .. } = *account;
        let now = self.store.now().await.map_err(LoadError::from)?;
        let command = session::Command::Begin { user_id, password_number, sign_outs, now };
        self.sessions.create(&stream, command, by(user_id, metadata)).await?;
        let live = self.live_session(session).await?;
        Ok(signed_in(session, &live, account.role))
    }

    /// Refreshes a session with `token`, which is used up. A token that was replaced within its grace
    /// period gets the current generation; one that was used before that ends the session, and so does
    /// a password that was changed.
    pub async fn refresh(
        &self,
        token: &RefreshToken,
        metadata: Metadata,
    ) -> Result<SignedIn, Error> {
        let RefreshToken { session, user_id, generation, grace } = *token;
        let live = self.live_session(session).await?;
        let LoadedUser { account, .. } = self.find(live.user_id).await?.ok_or(Error::NoSession)?;
        if live.user_id != user_id {
            return Err(Error::NoSession);
        }
        let Account { password_number, sign_outs, .. } = account;
        let now = self.store.now().await.map_err(LoadError::from)?;
        let command =
            session::Command::Refresh { generation, password_number, sign_outs, now, grace };
        let stream = session::stream(session);
        match self.sessions.execute(&stream, command, by(user_id, metadata)).await {
            Err(crate::Error::Rejected(_)) => return Err(Error::NoSession),
            outcome => outcome?,
        };
        // The decision may have ended the session, or a concurrent refresh has.
        let live = self.live_session(session).await?;
        if live.generation != generation.saturating_add(1) {
            return Err(Error::NoSession);
        }
        Ok(signed_in(session, &live, account.role))
    }

    /// Ends a session. Ending it twice has no further effect.
    pub async fn log_out(&self, session: Uuid, metadata: Metadata) -> Result<(), Error> {
        let command = session::Command::Revoke { reason: Reason::Logout };
        let envelope = Envelope { metadata, ..Envelope::default() };
        self.sessions.execute(&session::stream(session), command, envelope).await?;
        Ok(())
    }

    /// Ends `session` at the request of the user `user_id`. A session of another user is refused like one
    /// that does not exist, and so is one that has ended.
    pub async fn end_session(
        &self,
        session: Uuid,
        user_id: Uuid,
        envelope: Envelope,
    ) -> Result<Done, Error> {
        let command = session::Command::End { user_id };
        Ok(self.sessions.execute(&session::stream(session), command, envelope).await?)
    }

    /// Ends all sessions of the user `id`: none of them can be refreshed any more.
    pub async fn log_out_everywhere(&self, id: Uuid, metadata: Metadata) -> Result<(), Error> {
        let command = user::Command::SignOutEverywhere;
        self.accounts.execute(&user::stream(id), command, by(id, metadata)).await?;
        Ok(())
    }

    async fn live_session(&self, session: Uuid) -> Result<Live, Error> {
        match self.sessions.load(&session::stream(session)).await?.state {
            Session::Live(live) => Ok(live),
            Session::NotBegun | Session::Revoked => Err(Error::NoSession),
        }
    }
}

fn signed_in(session: Uuid, live: &Live, role: Role) -> SignedIn {
    let Live { user_id, generation, expires_at, .. } = *live;
    SignedIn { user_id, role, session, generation, expires_at }
}

/// The envelope of a command by an authenticated user.
fn by(id: Uuid, metadata: Metadata) -> Envelope {
    let metadata = Metadata { actor: Some(id.to_string()), ..metadata };
    Envelope { metadata, ..Envelope::default() }
}
