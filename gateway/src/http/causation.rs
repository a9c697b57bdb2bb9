//! What caused an event, and what it caused, across contexts.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use eventsourcing::Position;
use projections::trace::{Traced, together};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Operator;
use super::extract::Path;
use super::page;
use super::problem::Problem;
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "trace";
/// Events of one trace that are shown, at most.
const MAX_EVENTS: i64 = 500;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(trace))
}

/// Everything that follows from one request, or from one reading.
#[derive(Debug, Serialize, ToSchema)]
struct Trace {
    /// What its events share.
    correlation_id: Uuid,
    /// W3C trace context of the request it began with.
    traceparent: Option<String>,
    /// There are more than the 500 that are shown.
    truncated: bool,
    /// In order of position, so that a cause stands before its effects.
    events: Vec<TracedEvent>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TracedEvent {
    position: i64,
    id: Uuid,
    stream_id: String,
    context: &'static str,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: DateTime<Utc>,
    /// Who asked for it, or the process that acted.
    actor: Option<String>,
    /// Position of the event it follows from; `null` where a request began it.
    caused_by: Option<i64>,
    /// Steps from what began it.
    depth: usize,
}

/// Trace an event
///
/// What caused it and what it caused: the events of its request, of the process managers that acted
/// on them, and of alerts, each with the event it follows from.
#[utoipa::path(
    get, path = "/api/v1/events/{position}/trace", tag = tags::EVENTS,
    params(("position" = i64, Path, minimum = 1), QueryHeaders),
    responses((status = 200, description = "The trace it belongs to", body = Trace),
        (status = 403, description = "Not an operator"),
        (status = 404, description = "There is no such event")),
)]
async fn trace(
    State(api): State<Arc<Api>>,
    _: Operator,
    headers: HeaderMap,
    Path(position): Path<i64>,
) -> Result<Response, Problem> {
    let shown = wait::query(&api.wait, PROJECTION, &headers).await?;
    let events = api.store.at_positions(&[Position(position)]).await?;
    let event = events.first().ok_or_else(|| Problem::not_found("event"))?;
    let around = event.metadata().map_err(|error| Problem::internal(&error))?;
    // What follows from a fact that nobody asked for is correlated by the fact itself.
    let correlation_id = around.correlation_id.unwrap_or(event.id);
    let mut links = together(api.store.pool(), correlation_id, MAX_EVENTS + 1).await?;
    let limit = usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
    let truncated = links.len() > limit;
    links.truncate(limit);
    if !links.iter().any(|link| link.position == position) {
        links.push(Traced { position, event_id: event.id, causation_id: around.causation_id });
    }
    // It may have been begun by a fact, which has no link of its own.
    links.sort_unstable_by_key(|link| link.position);
    let events = shown_events(&api, &links).await?;
    let trace = Trace { correlation_id, traceparent: around.traceparent, truncated, events };
    Ok(page::one(trace, None, shown))
}

async fn shown_events(api: &Api, links: &[Traced]) -> Result<Vec<TracedEvent>, Problem> {
    let positions: Vec<_> = links.iter().map(|link| Position(link.position)).collect();
    let mut places: HashMap<Uuid, (i64, usize)> = HashMap::new();
    let mut shown = Vec::new();
    for event in api.store.at_positions(&positions).await? {
        let around = event.metadata().map_err(|error| Problem::internal(&error))?;
        let cause = around.causation_id.and_then(|cause| places.get(&cause).copied());
        let depth = cause.map_or(0, |(_, depth)| depth + 1);
        places.insert(event.id, (event.position.0, depth));
        let context = domain::context_of(event.stream.category());
        shown.push(TracedEvent {
            position: event.position.0,
            id: event.id,
            stream_id: event.stream.to_string(),
            context: context.map_or("unknown", |context| context.name),
            event_type: event.event_type.to_string(),
            recorded_at: event.recorded_at,
            actor: around.actor,
            caused_by: cause.map(|(position, _)| position),
            depth,
        });
    }
    Ok(shown)
}
