//! The tokens of a session: an access token, valid for minutes, and a refresh token, valid once. Both
//! are signed with the same key; the audience distinguishes them.

use std::time::Duration;

use chrono::Utc;
use commands::users::{RefreshToken, SignedIn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Claims, ISSUER, InvalidToken, Keys};

/// `aud` of refresh tokens.
pub const REFRESH_AUDIENCE: &str = "tributary-refresh";
/// Longest accepted refresh token, in characters.
pub const REFRESH_MAX_CHARS: usize = super::MAX_BYTES;

/// The claims of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Audience: [`REFRESH_AUDIENCE`].
    pub aud: String,
    /// Subject: the user id.
    pub sub: Uuid,
    /// Session id.
    pub sid: Uuid,
    /// Number of refreshes of the session before this token; a lower one than the session's means
    /// that the token was used before.
    pub generation: u32,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: i64,
    /// Time from which the token is valid, in seconds since the Unix epoch.
    pub nbf: i64,
    /// End of the session, in seconds since the Unix epoch.
    pub exp: i64,
}

impl RefreshClaims {
    /// The token as the session judges it; `grace` is the time for which a replaced one is accepted.
    pub fn token(&self, grace: Duration) -> RefreshToken {
        let Self { sid: session, sub: user_id, generation, .. } = *self;
        RefreshToken { session, user_id, generation, grace }
    }
}

/// A token cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign a token")]
pub struct SigningError(#[from] jsonwebtoken::errors::Error);

impl Keys {
    /// Returns an access token for the session that is valid from now on.
    pub fn access_token(
        &self,
        signed_in: &SignedIn,
        lifetime: Duration,
    ) -> Result<String, SigningError> {
        let subject = signed_in.user_id.to_string();
        let session = Some(signed_in.session);
        self.encode(&Claims::new(&subject, signed_in.role, session, lifetime))
    }

    /// Returns the session's next refresh token, valid until the session ends.
    pub fn refresh_token(&self, signed_in: &SignedIn) -> Result<String, SigningError> {
        let now = Utc::now().timestamp();
        self.encode(&RefreshClaims {
            iss: ISSUER.into(),
            aud: REFRESH_AUDIENCE.into(),
            sub: signed_in.user_id,
            sid: signed_in.session,
            generation: signed_in.generation,
            iat: now,
            nbf: now,
            exp: signed_in.expires_at.timestamp(),
        })
    }

    /// Verifies a refresh token and returns its claims. Does not check whether it was used before:
    /// that is recorded in the session.
    pub fn check_refresh(&self, token: &str) -> Result<RefreshClaims, InvalidToken> {
        let claims: RefreshClaims = self.decode(token, &self.refresh_validation)?;
        super::in_time(claims.nbf, claims.exp)?;
        Ok(claims)
    }
}
