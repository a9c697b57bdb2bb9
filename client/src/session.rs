//! Signing in, and the tokens that follow.

use serde::Deserialize;
use serde_json::json;

use super::{Client, Error};

/// The tokens of a session.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Tokens {
    /// Bearer token for [`Client::with_token`].
    pub access_token: String,
    /// Lifetime of the access token, in seconds.
    pub expires_in: u64,
    /// Token for [`Client::refresh`]. Valid once: after a grace period, 10 s by default, a second use
    /// ends the session.
    pub refresh_token: String,
}

impl Client {
    /// Starts a session with a user's e-mail address and password.
    ///
    /// Fails with 401 if either is wrong. Is not retried: each attempt starts a session.
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<Tokens, Error> {
        let form = [("username", email), ("password", password)];
        let request = self.post("/api/v1/auth/login/access-token").form(&form).once();
        Ok(request.send().await?.body)
    }

    /// Exchanges a refresh token for the next pair of tokens.
    ///
    /// Fails with 401 if the token has expired or was used before. An unknown outcome is retried: within
    /// its grace period, a token gets the same generation again.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Error> {
        let body = json!({"refresh_token": refresh_token});
        Ok(self.post("/api/v1/auth/refresh").json(&body).send().await?.body)
    }
}

/// Shows no token.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
