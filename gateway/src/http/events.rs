//! The log over HTTP: pages of events, a stream of server-sent events, and the events of one stream.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Uri, header};
use eventsourcing::{Position, StreamId, Version};
use eventstore::{Filter, RawEvent};

use super::event_view::EventRow;
use super::prelude::*;
use super::{headers, sse, state_at};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(feed)).routes(routes!(listen)).routes(routes!(stream))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// Only events after this position. The default is 0 for pages, and the end of the log for the
    /// event stream.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<Position>,
    /// Most items on the page (default 100). Ignored by the event stream.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Only events of these contexts, separated by commas.
    context: Option<String>,
    /// Only events of these types, separated by commas.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only events of this stream.
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
            let invalid = |error: eventsourcing::event::InvalidStreamId| {
                Problem::parameter("stream", error.to_string())
            };
            filter.stream = Some(StreamId::parse(stream).map_err(invalid)?);
        }
        Ok(filter)
    }

    fn after(&self) -> Result<Option<Position>, Problem> {
        match self.after {
            Some(Position(..0)) => {
                Err(Problem::parameter("after", "must be a position: 0 or higher"))
            }
            after => Ok(after),
        }
    }
}

/// List events of the log
///
/// In order of position. The response has a link to the next page at the end of the log, too: follow
/// it again later to get the events committed since.
#[utoipa::path(
    get, path = "/api/v1/events", tag = tags::EVENTS, params(FeedQuery),
    responses((status = 200, description = "Events in order of position", body = Page<EventRow>,
        headers(("Tributary-Position" = i64, description = "All matching events up to this position are on this page or an earlier one"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 403, description = "The caller is not an operator")),
)]
async fn feed(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    Operator(caller): Operator,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let (filter, after) = (query.filter()?, query.after()?.unwrap_or_default());
    let head = api.store.head().await?;
    let page = api.store.read(after, head, &filter, query.limit.into()).await?;
    let next = Some(("after", page.through.to_string()));
    Ok(page::respond(&uri, rows(&caller, &page.events)?, next, page.through))
}

fn rows(caller: &Caller, events: &[RawEvent]) -> Result<Vec<EventRow>, Problem> {
    let rows = events.iter().map(|event| EventRow::seen_by(caller, event));
    rows.collect::<Result<_, _>>().map_err(|error| Problem::internal(&error))
}

/// Stream events of the log
///
/// As server-sent events: `id` is the position, `event` the type, `data` the event. A client that
/// reconnects with `Last-Event-ID` misses no event. A caller may have 16 event streams at a time (by
/// default); a further one is refused with 429 `too_many_streams`.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = tags::EVENTS,
    params(FeedQuery, ("Last-Event-ID" = Option<i64>, Header, description = "Position of the last event received; takes precedence over `after`")),
    responses((status = 200, description = "Events as they are committed", body = String,
        content_type = "text/event-stream"),
        (status = 403, description = "The caller is not an operator")),
)]
async fn listen(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Operator(caller): Operator,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let after = match headers::position(&headers, "Last-Event-ID")?.or(query.after()?) {
        Some(after) => after,
        None => api.store.head().await?,
    };
    let filter = query.filter()?;
    let slot = api.admission.stream(&caller.subject)?;
    let subscription = api.feed.subscribe(after, filter);
    Ok(sse::respond(subscription, slot, api.shutdown.clone()))
}

/// Which events of a stream.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Only events after this version (default 0).
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Version,
    /// A position of the log or a time (RFC 3339): the response is the state of the stream then,
    /// instead of its events.
    at: Option<String>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
}

/// List the events of a stream, or show its state at a position or time
///
/// With `at`, the response is the state of the stream's decider then, folded from the events up to
/// there.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream_id}", tag = tags::EVENTS,
    params(("stream_id" = String, Path, description = "`category-key`"), StreamQuery),
    responses((status = 200, description = "Events of the stream, oldest first; with `at` a `StreamState`", body = Value,
        headers(("Tributary-Position" = i64, description = "Position of the last event shown"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "There is no such stream")),
)]
async fn stream(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    Operator(caller): Operator,
    Path(stream): Path<StreamId>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    of_stream(&api, &uri, &caller, &stream, &query, "stream").await
}

/// Responds with a page of the events of `stream` as `caller` may see them, or with its state at a
/// position or time; 404 if there are none, in which case the stream is called `name`.
pub(super) async fn of_stream(
    api: &Api,
    uri: &Uri,
    caller: &Caller,
    stream: &StreamId,
    query: &StreamQuery,
    name: &str,
) -> Result<Response, Problem> {
    if let Some(at) = &query.at {
        return state_at::show(api, stream, at).await;
    }
    if query.after < Version::NONE {
        return Err(Problem::parameter("after", "must be a version: 0 or higher"));
    }
    let events = api.store.read_stream(stream, query.after, query.limit.into()).await?;
    if events.is_empty() && query.after <= Version::NONE {
        return Err(Problem::not_found(name));
    }
    let (position, version) =
        events.last().map_or((Position::START, query.after), |last| (last.position, last.version));
    let next = Some(("after", version.to_string()));
    let mut response = page::respond(uri, rows(caller, &events)?, next, position);
    if let Ok(tag) = format!("\"{version}\"").parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}
