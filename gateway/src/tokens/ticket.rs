//! Tickets: signed like tokens, valid for seconds, for one event stream. Their audience distinguishes
//! them, so a ticket is no access token, and an access token is no ticket.

use std::time::Duration;

use chrono::Utc;
use domain::Role;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AUDIENCE, Claims, ISSUER, InvalidToken, Keys, SigningError};

/// `aud` of tickets.
pub const TICKET_AUDIENCE: &str = "tributary-event-stream";

/// The claims of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Audience: [`TICKET_AUDIENCE`].
    pub aud: String,
    /// Id of the ticket, by which a second use is recognised.
    pub jti: Uuid,
    /// Subject of the access token that requested it.
    pub sub: String,
    /// Role of the subject.
    pub role: Role,
    /// Session of the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: i64,
    /// Time from which the ticket is valid, in seconds since the Unix epoch.
    pub nbf: i64,
    /// Time from which the ticket cannot be used any more, in seconds since the Unix epoch.
    pub exp: i64,
    /// Time from which the access token is expired, in seconds since the Unix epoch.
    pub token_exp: i64,
}

impl TicketClaims {
    /// Returns the claims of the access token that requested the ticket.
    pub fn access(self) -> Claims {
        let Self { iss, sub, role, sid, iat, nbf, token_exp, .. } = self;
        Claims { iss, aud: AUDIENCE.into(), sub, role, sid, iat, nbf, exp: token_exp }
    }
}

impl Keys {
    /// Returns a ticket for the holder of the access token with these claims. It is valid from now on,
    /// for `lifetime` and no longer than the token.
    pub fn ticket(&self, token: &Claims, lifetime: Duration) -> Result<String, SigningError> {
        let now = Utc::now().timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.encode(&TicketClaims {
            iss: ISSUER.into(),
            aud: TICKET_AUDIENCE.into(),
            jti: Uuid::now_v7(),
            sub: token.sub.clone(),
            role: token.role,
            sid: token.sid,
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime).min(token.exp),
            token_exp: token.exp,
        })
    }

    /// Verifies a ticket and returns its claims. Does not check whether it was used before.
    pub fn check_ticket(&self, ticket: &str) -> Result<TicketClaims, InvalidToken> {
        let claims: TicketClaims = self.decode(ticket, &self.ticket_validation)?;
        super::in_time(claims.nbf, claims.exp)?;
        Ok(claims)
    }
}
