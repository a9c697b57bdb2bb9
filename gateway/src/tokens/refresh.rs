//! The tokens of a session: an access token that holds for minutes, and a refresh token that holds
//! once. Both are signed with the same key; the audience tells them apart, so that neither passes
//! for the other.

use std::time::Duration;

use chrono::Utc;
use commands::users::SignedIn;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Claims, ISSUER, Invalid, Keys};

/// Whom refresh tokens are for: ourselves.
pub const REFRESH_AUDIENCE: &str = "tributary-refresh";
/// Longest refresh token that is looked at, in characters.
pub const REFRESH_MAX_CHARS: usize = super::MAX_BYTES;

/// What a refresh token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    pub iss: String,
    pub aud: String,
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// How often the session had been refreshed: an older one was used before.
    pub generation: u32,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

/// A token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("a token could not be signed")]
pub struct Unsigned(#[from] jsonwebtoken::errors::Error);

impl Keys {
    /// A token for whoever signed in, that holds from now on.
    pub fn access_token(&self, signed_in: &SignedIn, holds: Duration) -> Result<String, Unsigned> {
        let subject = signed_in.user_id.to_string();
        let session = Some(signed_in.session);
        self.encode(&Claims::new(&subject, signed_in.role, session, holds))
    }

    /// The token that goes on with the session, to its end.
    pub fn refresh_token(&self, signed_in: &SignedIn) -> Result<String, Unsigned> {
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

    /// What the refresh token says, if it is ours and holds now. Whether it was used before, its
    /// session knows.
    pub fn check_refresh(&self, token: &str) -> Result<RefreshClaims, Invalid> {
        let claims: RefreshClaims = self.decode(token, &self.refresh_validation)?;
        super::in_time(claims.nbf, claims.exp)?;
        Ok(claims)
    }
}
