//! The use of tickets: which request has one, and that each is used once.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use chrono::Utc;

use super::api::Api;
use super::problem::Problem;
use crate::tokens::Claims;

/// The route that takes tickets.
const STREAM: &str = "/api/v1/events/stream";
/// How long after its end a used ticket is remembered: the clocks of two servers may differ.
const MARGIN: Duration = Duration::from_mins(1);

/// The ticket in the query of a request for the event stream, if there is one. No other route takes
/// tickets.
pub(super) fn of(request: &Request) -> Option<String> {
    let route = request.extensions().get::<MatchedPath>()?;
    if route.as_str() != STREAM {
        return None;
    }
    let query = request.uri().query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, value)| (name == "ticket").then(|| value.into_owned()))
}

/// Uses `ticket` up, and returns the claims of the token that requested it. Of two requests with one
/// ticket, to any two processes, one succeeds.
pub(super) async fn redeem(api: &Api, ticket: &str) -> Result<Claims, Problem> {
    let invalid = || {
        let detail = "the ticket is invalid, was used or has expired; request a new one";
        Problem::unauthenticated(detail, r#"Bearer realm="tributary", error="invalid_token""#)
    };
    let claims = api.keys.check_ticket(ticket).map_err(|error| {
        tracing::debug!(%error, "ticket refused");
        invalid()
    })?;
    let left = u64::try_from(claims.exp.saturating_sub(Utc::now().timestamp())).unwrap_or_default();
    let remembered = Duration::from_secs(left) + MARGIN;
    if !api.store.use_once("event-ticket", claims.jti, remembered).await? {
        tracing::debug!("ticket refused: it was used before");
        return Err(invalid());
    }
    Ok(claims.access())
}
