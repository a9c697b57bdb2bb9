//! The causation tree of an event: what caused it, and what it caused, across contexts.

use chrono::{DateTime, Utc};
use domain::telemetry::{DeviceId, DeviceRef, UserId, device_stream};
use eventsourcing::{Position, StreamId};
use eventstore::RawEvent;
use projections::causation::{Causation, Link, by_correlation};
use std::collections::HashMap;

use super::prelude::*;

/// Most events of a causation tree that are shown.
const MAX_EVENTS: i64 = 500;
/// Events of a stream whose trees are shown.
const STREAM_EVENTS: i64 = 100;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(trace)).routes(routes!(trace_any))
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
    let tree = tree(&context, &[correlation_id], events, metadata.traceparent).await?;
    Ok(page::one(tree, None, read_at))
}

/// Show the causation tree of what an id names
///
/// The id is a position, the id of an event, the trace id of a request or response, the id of a work,
/// order, product, project, task, alert or user, a stream (`order-…`), or a device as
/// `user_id/device_id`. What has a stream is shown with the trees of the last 100 events of its stream.
#[utoipa::path(
    get, path = "/api/v1/traces/{id}", tag = tags::EVENTS,
    params(("id" = String, Path), QueryHeaders),
    responses((status = 200, description = "The causation tree; several trees, if several requests changed what the id names", body = CausationTree),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "The log has no event of this id")),
)]
async fn trace_any(
    _: Operator,
    context: QueryContext,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let read_at = context.wait(Causation::NAME).await?;
    let (correlations, events) = named(&context, &id).await?;
    let traceparent = match events.first().map(RawEvent::metadata).transpose() {
        Ok(metadata) => metadata.and_then(|metadata| metadata.traceparent),
        Err(error) => return Err(Problem::internal(&error)),
    };
    let tree = tree(&context, &correlations, events, traceparent).await?;
    Ok(page::one(tree, None, read_at))
}

/// The correlations of what `id` names, and events of it; 404 if there are none.
async fn named(context: &QueryContext, id: &str) -> Result<(Vec<Uuid>, Vec<RawEvent>), Problem> {
    let store = &context.api.store;
    let uuid = Uuid::parse_str(id).ok();
    let mut events = Vec::new();
    if let Ok(position) = id.parse() {
        events = store.at_positions(&[Position(position)]).await?;
    } else if let Some(uuid) = uuid {
        if let Some(event) = store.by_id(uuid).await? {
            events.push(event);
        } else {
            let links = by_correlation(context.pool(), uuid, 1).await?;
            let positions: Vec<_> = links.iter().map(|link| Position(link.position)).collect();
            events = store.at_positions(&positions).await?;
        }
    }
    if events.is_empty() {
        events = store.last_events(&streams(id, uuid), STREAM_EVENTS).await?;
    }
    let mut correlations = Vec::new();
    for event in &events {
        let metadata = event.metadata().map_err(|error| Problem::internal(&error))?;
        let correlation = metadata.correlation_id.unwrap_or(event.id);
        if !correlations.contains(&correlation) {
            correlations.push(correlation);
        }
    }
    if events.is_empty() { Err(Problem::not_found("event")) } else { Ok((correlations, events)) }
}

/// The streams that `id` may name: of any context, if it is a UUID.
fn streams(id: &str, uuid: Option<Uuid>) -> Vec<StreamId> {
    let of_device = id.split_once('/').and_then(|(user_id, device_id)| {
        let (user_id, device_id) = (UserId::parse(user_id).ok()?, DeviceId::parse(device_id).ok()?);
        Some(device_stream(DeviceRef { user_id: &user_id, device_id: &device_id }))
    });
    let categories = domain::CONTEXTS.iter().flat_map(|context| context.categories);
    let of_uuid = uuid.map(|uuid| categories.map(move |category| StreamId::new(category, uuid)));
    let streams = of_uuid.into_iter().flatten().chain(of_device);
    streams.chain(StreamId::parse(id).ok()).collect()
}

/// The events of `correlations` in one tree, and `events`: a fact that no request caused has no link of
/// its own.
async fn tree(
    context: &QueryContext,
    correlations: &[Uuid],
    events: Vec<RawEvent>,
    traceparent: Option<String>,
) -> Result<CausationTree, Problem> {
    let mut links = Vec::new();
    for correlation in correlations {
        links.extend(by_correlation(context.pool(), *correlation, MAX_EVENTS + 1).await?);
    }
    let limit = usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
    let truncated = links.len() > limit;
    links.truncate(limit);
    for event in events {
        let position = event.position.0;
        if !links.iter().any(|link| link.position == position) {
            let metadata = event.metadata().map_err(|error| Problem::internal(&error))?;
            let causation_id = metadata.causation_id;
            links.push(Link { position, event_id: event.id, causation_id });
        }
    }
    links.sort_unstable_by_key(|link| link.position);
    let correlation_id = correlations.first().copied().unwrap_or_default();
    let events = caused_events(&context.api, &links).await?;
    Ok(CausationTree { correlation_id, traceparent, truncated, events })
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
