//! The states of a stream: its events, each with the state of the decider after it.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::{OriginalUri, State};
use axum::response::IntoResponse;
use eventsourcing::decider::State as Folded;
use eventsourcing::{Position, StreamId, Version};
use serde_json::value::RawValue;

use super::event_view::EventRow;
use super::headers::POSITION;
use super::prelude::*;

/// Most items on a page: states may be large.
const MAX_LIMIT: usize = 200;
/// A page ends early once its states have so many bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Events read at a time before the page begins.
const READ_EVENTS: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(states))
}

/// Which events of the stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatesQuery {
    /// Only events after this version (default 0).
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Version,
    /// Most items on the page (default 100). A page of large states has fewer.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Limit,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StreamKind {
    /// Events of a decider, which has a state after each of them.
    Decider,
    /// Facts, such as readings: there is no state.
    Facts,
}

/// The events of a stream with the states after them.
#[derive(Debug, Serialize, ToSchema)]
struct StreamStates {
    /// What the stream holds.
    kind: StreamKind,
    /// In order of version.
    items: Vec<EventState>,
}

/// An event and the state after it.
#[derive(Debug, Serialize, ToSchema)]
struct EventState {
    /// The event.
    event: EventRow,
    /// State of the decider after the event; null in a stream of facts, and from an event on that cannot
    /// be decoded.
    #[schema(value_type = Option<serde_json::Value>)]
    state: Option<Box<RawValue>>,
    /// Why the event cannot be decoded; missing if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Folds events until one cannot be decoded.
struct Fold(Option<Box<dyn Folded>>);

impl Fold {
    /// Applies an event; returns why it cannot be decoded, if so.
    fn apply(&mut self, event: &eventstore::RawEvent) -> Option<String> {
        let state = self.0.as_mut()?;
        let folded = state.fold(&event.event_type, event.schema_version, &event.data);
        let error = folded.err()?;
        self.0 = None;
        Some(eventstore::ErrorChain(&error).to_string())
    }

    fn state(&self) -> Result<Option<Box<RawValue>>, Problem> {
        let state = self.0.as_ref().map(|state| state.to_json()).transpose();
        state.map_err(|error| Problem::internal(&error))
    }
}

/// List the states of a stream
///
/// The events of the stream, each with the state of its decider after it: what `?at=` of the stream shows
/// at the position of the event. The events before the page are folded, not returned.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream_id}/states", tag = tags::EVENTS,
    params(("stream_id" = String, Path, description = "`category-key`"), StatesQuery),
    responses((status = 200, description = "Events with the states after them, oldest first", body = StreamStates,
        headers(("Tributary-Position" = i64, description = "Position of the last event shown"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "There is no such stream")),
)]
async fn states(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    Operator(caller): Operator,
    Path(stream): Path<StreamId>,
    Query(StatesQuery { after, limit }): Query<StatesQuery>,
) -> Result<Response, Problem> {
    if after < Version::NONE {
        return Err(Problem::parameter("after", "must be a version: 0 or higher"));
    }
    let limit = usize::from(limit);
    if limit > MAX_LIMIT {
        let detail = format!("must be a whole number between 1 and {MAX_LIMIT}");
        return Err(Problem::parameter("limit", detail));
    }
    let decider = domain::decider_of(stream.category());
    let kind = if decider.is_some() { StreamKind::Decider } else { StreamKind::Facts };
    let mut fold = Fold(decider.map(|decider| (decider.initial_state)()));
    if kind == StreamKind::Decider {
        fold_until(&api, &stream, after, &mut fold).await?;
    }
    let events = api.store.read_stream(&stream, after, limit).await?;
    if events.is_empty() && after <= Version::NONE {
        return Err(Problem::not_found("stream"));
    }
    let (mut items, mut bytes) = (Vec::with_capacity(events.len()), 0);
    let (mut position, mut version) = (Position::START, after);
    for event in &events {
        let error = fold.apply(event);
        let state = fold.state()?;
        bytes += event.weight() + state.as_ref().map_or(0, |state| state.get().len());
        if bytes > PAGE_BYTES && !items.is_empty() {
            break;
        }
        (position, version) = (event.position, event.version);
        let event = EventRow::seen_by(&caller, event).map_err(|error| Problem::internal(&error))?;
        items.push(EventState { event, state, error });
    }
    let states = StreamStates { kind, items };
    let mut response = ([(POSITION, position.to_string())], Body(states)).into_response();
    page::link(&mut response, &uri, Some(("after", version.to_string())));
    Ok(response)
}

/// Folds the events of `stream` up to the version `until`.
async fn fold_until(
    api: &Api,
    stream: &StreamId,
    until: Version,
    fold: &mut Fold,
) -> Result<(), Problem> {
    let mut version = Version::NONE;
    while version < until {
        let events = api.store.read_stream(stream, version, READ_EVENTS).await?;
        if events.is_empty() {
            break;
        }
        for event in events.iter().take_while(|event| event.version <= until) {
            fold.apply(event);
        }
        version = events.last().map_or(until, |last| last.version);
    }
    Ok(())
}
