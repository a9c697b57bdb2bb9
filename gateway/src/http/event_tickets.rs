//! Tickets for event streams. `EventSource` of browsers sends no header, and a token in a URL would end up
//! in histories and logs of proxies. So a page requests a ticket with its token, and opens the stream with
//! the ticket, which is valid once and for seconds.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use chrono::Utc;

use super::caller::bearer;
use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(create))
}

/// A ticket for one event stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventTicket)]
struct Issued {
    /// For the parameter `ticket` of the event stream.
    ticket: String,
    /// Time within which the ticket must be used, in seconds.
    expires_in: i64,
    /// Epoch of the log: it grows when the log is restored from a backup, after which positions may mean
    /// other events.
    epoch: i64,
}

/// Request a ticket for an event stream
///
/// For `EventSource`, which sends no `Authorization`: open
/// `/api/v1/events/stream?ticket=…` within 30 seconds (by default). A ticket opens one stream, once, with
/// the permissions of the token; request another one to reconnect. The stream ends no later than the token.
#[utoipa::path(
    post, path = "/api/v1/events/tickets", tag = tags::EVENTS,
    responses((status = 200, description = "The ticket", body = Issued,
        headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 403, description = "The role of the caller may request no tickets")),
)]
async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let options = api.event_tickets;
    if caller.role < options.event_ticket_role {
        let role = options.event_ticket_role;
        let detail = format!("tickets for event streams require the role {role} here");
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    let remaining = api.admission.event_ticket(&caller.subject)?;
    let claims = api.keys.check(bearer(&headers)?).map_err(|error| Problem::internal(&error))?;
    let epoch = api.store.owner().await?.epoch;
    let lifetime = options.event_ticket_ttl.0;
    let ticket = api.keys.ticket(&claims, lifetime).map_err(|error| Problem::internal(&error))?;
    let left = claims.exp.saturating_sub(Utc::now().timestamp());
    let expires_in = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).min(left);
    let secret = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let mut response = (secret, Body(Issued { ticket, expires_in, epoch })).into_response();
    remaining.write(response.headers_mut());
    Ok(response)
}
