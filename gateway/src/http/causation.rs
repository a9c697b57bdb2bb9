//! The causation tree of an event: what caused it, and what it caused, across contexts.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use projections::causation::{Causation, Link, by_correlation};
use std::collections::HashMap;

use super::prelude::*;

/// Most events of a causation tree that are shown.
const MAX_EVENTS: i64 = 500;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(trace))
}

/// All events that follow from one request, or from one fact such as a reading.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trace)]
struct CausationTree {
    /// Correlation id that the events share.
    correlation_id: Uuid,
    /// W3C trace context of the request.
    traceparent: Option<String>,
    /// Whether there are more than the 500 events shown.
    truncated: bool,
    /// In order of position, so that a cause precedes its effects.
    events: Vec<CausedEvent>,
}

/// An event of a causation tree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TracedEvent)]
struct CausedEvent {
    /// Place in the log.
    position: i64,
    /// Id of the event.
    id: Uuid,
    /// Stream of the event: `category-key`.
    stream_id: String,
    /// Business context of the event.
    context: &'static str,
    /// What happened, such as `work_demanded`.
    #[serde(rename = "type")]
    event_type: String,
    /// When the event was committed.
    recorded_at: DateTime<Utc>,
    /// Id of the user who sent the command, or name of the process that acted.
    actor: Option<String>,
    /// Position of the event that caused this one; `null` if a request did.
    caused_by: Option<i64>,
    /// Number of causes between this event and the root of the tree.
    depth: usize,
}

/// Show the causation tree of an event
///
/// What caused the event and what it caused: the events of its request, of the process managers that
/// reacted to them, and of alerts, each with its cause.
#[utoipa::path(
    get, path = "/api/v1/events/{position}/trace", tag = tags::EVENTS,
    params(("position" = i64, Path, minimum = 1), QueryHeaders),
    responses((status = 200, description = "The causation tree", body = CausationTree),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "There is no event at this position")),
)]
async fn trace(
    _: Operator,
    context: QueryContext,
    Path(position): Path<i64>,
) -> Result<Response, Problem> {
    let read_at = context.wait(Causation::NAME).await?;
    let events = context.api.store.at_positions(&[Position(position)]).await?;
    let event = events.first().ok_or_else(|| Problem::not_found("event"))?;
    let metadata = event.metadata().map_err(|error| Problem::internal(&error))?;
    // A fact that no request caused is itself the root: its id is the correlation id.
    let correlation_id = metadata.correlation_id.unwrap_or(event.id);
    let mut links = by_correlation(context.pool(), correlation_id, MAX_EVENTS + 1).await?;
    let limit = usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
    let truncated = links.len() > limit;
    links.truncate(limit);
    if !links.iter().any(|link| link.position == position) {
        links.push(Link { position, event_id: event.id, causation_id: metadata.causation_id });
    }
    // The root may be a fact, which has no link of its own and was added last.
    links.sort_unstable_by_key(|link| link.position);
    let events = caused_events(&context.api, &links).await?;
    let tree =
        CausationTree { correlation_id, traceparent: metadata.traceparent, truncated, events };
    Ok(page::one(tree, None, read_at))
}

async fn caused_events(api: &Api, links: &[Link]) -> Result<Vec<CausedEvent>, Problem> {
    let positions: Vec<_> = links.iter().map(|link| Position(link.position)).collect();
    let mut known: HashMap<Uuid, (i64, usize)> = HashMap::new();
    let mut rows = Vec::new();
    for event in api.store.at_positions(&positions).await? {
        let metadata = event.metadata().map_err(|error| Problem::internal(&error))?;
        let cause = metadata.causation_id.and_then(|cause| known.get(&cause).copied());
        let depth = cause.map_or(0, |(_, depth)| depth + 1);
        known.insert(event.id, (event.position.0, depth));
        let context = domain::context_of(event.stream.category());
        rows.push(CausedEvent {
            position: event.position.0,
            id: event.id,
            stream_id: event.stream.to_string(),
            context: context.map_or("unknown", |context| context.name),
            event_type: event.event_type.to_string(),
            recorded_at: event.recorded_at,
            actor: metadata.actor,
            caused_by: cause.map(|(position, _)| position),
            depth,
        });
    }
    Ok(rows)
}
