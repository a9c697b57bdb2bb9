//! The log itself over HTTP: a feed to page through, a stream to listen to, one stream's history.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use domain::users;
use eventsourcing::{Position, StreamId, Version};
use eventstore::{Filter, RawEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Operator;
use super::extract::{Path, Query};
use super::page::{self, Limit, Page};
use super::problem::Problem;
use super::{Api, sse, state_at, tags};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(feed)).routes(routes!(listen)).routes(routes!(stream))
}

/// An event of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventRow {
    /// Its place in the log: gapless, in commit order.
    position: i64,
    id: Uuid,
    /// `category-key`.
    stream_id: String,
    /// How many events its stream held with this one.
    version: i64,
    /// The business context it belongs to.
    context: &'static str,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: i16,
    recorded_at: DateTime<Utc>,
    #[schema(value_type = Value)]
    data: Box<RawValue>,
    /// Correlation, causation, actor and trace.
    #[schema(value_type = Value)]
    metadata: Box<RawValue>,
}

impl EventRow {
    /// The event as it is shown.
    pub(super) fn new(event: &RawEvent) -> Result<Self, Problem> {
        let raw = |text: &str| {
            RawValue::from_string(text.to_owned()).map_err(|error| Problem::internal(&error))
        };
        let context = domain::context_of(event.stream.category());
        // Operators may see everything but what passwords could be guessed from: see ADR 9.
        let data = if context.is_some_and(|context| context.name == users::CONTEXT.name) {
            without_secret(&event.data).map_err(|error| Problem::internal(&error))?
        } else {
            raw(&event.data)?
        };
        Ok(Self {
            position: event.position.0,
            id: event.id,
            stream_id: event.stream.to_string(),
            version: event.version.0,
            context: context.map_or("unknown", |context| context.name),
            event_type: event.event_type.to_string(),
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            data,
            metadata: raw(&event.metadata)?,
        })
    }
}

/// The data of an event of users as it may be shown.
pub(super) fn without_secret(data: &str) -> serde_json::Result<Box<RawValue>> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_str(data)?;
    members.remove(users::SECRET_MEMBER);
    serde_json::value::to_raw_value(&members)
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// Those after this position. A feed begins before the first event if it is left out, a
    /// stream of events now.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<Position>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Only those of these contexts, separated by commas.
    context: Option<String>,
    /// Only those of these types, separated by commas.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only those of this stream.
    stream: Option<String>,
}

impl FeedQuery {
    fn filter(&self) -> Result<Filter, Problem> {
        let mut filter = Filter::default();
        for name in self.context.iter().flat_map(|names| names.split(',')) {
            let unknown = || Problem::parameter("context", format!("there is no context `{name}`"));
            let context = domain::context_named(name).ok_or_else(unknown)?;
            let categories = context.categories.iter().map(|&category| category.to_owned());
            filter.categories.extend(categories);
        }
        if let Some(types) = &self.event_type {
            filter.event_types = types.split(',').map(str::to_owned).collect();
        }
        if let Some(stream) = &self.stream {
            let unreadable = |error: eventsourcing::event::InvalidStreamId| {
                Problem::parameter("stream", error.to_string())
            };
            filter.stream = Some(StreamId::parse(stream).map_err(unreadable)?);
        }
        Ok(filter)
    }

    fn after(&self) -> Result<Option<Position>, Problem> {
        match self.after {
            Some(Position(..0)) => Err(Problem::parameter("after", "not a position")),
            after => Ok(after),
        }
    }
}

/// Page through the log
///
/// The link to the next page is there at the head, too: follow it again later.
#[utoipa::path(
    get, path = "/api/v1/events", tag = tags::EVENTS, params(FeedQuery),
    responses((status = 200, description = "Events in order of position", body = Page<EventRow>,
        headers(("Tributary-Position" = i64, description = "Every wanted event up to here is on this page or before it"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 403, description = "Not an operator")),
)]
async fn feed(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let (filter, after) = (query.filter()?, query.after()?.unwrap_or_default());
    let head = api.store.head().await?;
    let page = api.store.read(after, head, &filter, query.limit.into()).await?;
    let items = page.events.iter().map(EventRow::new).collect::<Result<Vec<_>, _>>()?;
    let next = Some(("after", page.through.to_string()));
    Ok(page::respond(&uri, items, next, page.through))
}

/// Listen to the log
///
/// Server-sent events: `id` is the position, `event` the type, `data` the event. A reader that
/// comes back with `Last-Event-ID` misses nothing.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = tags::EVENTS,
    params(FeedQuery, ("Last-Event-ID" = Option<i64>, Header, description = "Goes before `after`")),
    responses((status = 200, description = "Events as they are committed", body = String,
        content_type = "text/event-stream"),
        (status = 403, description = "Not an operator")),
)]
async fn listen(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    _: Operator,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let after = match sse::last_event_id(&headers)?.or(query.after()?) {
        Some(after) => after,
        None => api.store.head().await?,
    };
    let subscription = api.feed.subscribe(after, query.filter()?);
    Ok(sse::respond(subscription, api.shutdown.clone()))
}

/// Which events of a stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Those after this version.
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Version,
    /// Not its events, but what they came to at this position of the log, or at this time
    /// (RFC 3339).
    at: Option<String>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
}

/// Show one stream, event by event, or as it was
///
/// With `at`, what its decider knew then: its state, folded from the events up to there.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream_id}", tag = tags::EVENTS,
    params(("stream_id" = String, Path, description = "`category-key`"), StreamQuery),
    responses((status = 200, description = "Its events, oldest first; with `at` a `StreamState`", body = Value,
        headers(("Tributary-Position" = i64, description = "Position of the last one shown"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 403, description = "Not an operator"),
        (status = 404, description = "There is no such stream")),
)]
async fn stream(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Path(stream): Path<StreamId>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    of_stream(&api, &uri, &stream, &query, "stream").await
}

/// A page of one stream, which is called `what` in our answers; or the stream as it was.
pub(super) async fn of_stream(
    api: &Api,
    uri: &Uri,
    stream: &StreamId,
    query: &StreamQuery,
    what: &str,
) -> Result<Response, Problem> {
    if let Some(at) = &query.at {
        return state_at::show(api, stream, at).await;
    }
    if query.after < Version::NONE {
        return Err(Problem::parameter("after", "not a version"));
    }
    let events = api.store.read_stream(stream, query.after, query.limit.into()).await?;
    if events.is_empty() && query.after <= Version::NONE {
        return Err(Problem::not_found(what));
    }
    let items = events.iter().map(EventRow::new).collect::<Result<Vec<_>, _>>()?;
    let (position, version) =
        events.last().map_or((Position::START, query.after), |last| (last.position, last.version));
    let next = Some(("after", version.to_string()));
    let mut response = page::respond(uri, items, next, position);
    if let Ok(tag) = format!("\"{version}\"").parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response.into_response())
}
