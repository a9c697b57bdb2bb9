//! The log over HTTP: pages of events, a stream of server-sent events, and the events of one stream.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Uri, header};
use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId, Version};
use eventstore::{Filter, RawEvent};

use super::audience::{Audience, EventNames};
use super::event_view::EventRow;
use super::prelude::*;
use super::{headers, sse, state_at};

/// Response header with the epoch of the log, which grows when the log is restored from a backup: then
/// positions may mean other events.
pub(super) const EPOCH: &str = "tributary-epoch";

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(feed)).routes(routes!(listen)).routes(routes!(stream))
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FeedQuery {
    /// Only events after this position. The default is the end of the log.
    #[param(value_type = Option<i64>, minimum = 0)]
    pub(super) after: Option<Position>,
    /// Ignored: an event stream has no pages.
    #[expect(dead_code, reason = "accepted as lists do")]
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Only events of these contexts, separated by commas.
    pub(super) context: Option<String>,
    /// Only events of these types, separated by commas.
    #[serde(rename = "type")]
    pub(super) event_type: Option<String>,
    /// Only events of this stream.
    pub(super) stream: Option<String>,
    /// The epoch of the log that `after` belongs to, from `Tributary-Epoch` or a ticket: 409
    /// `epoch_changed` if the log has another one.
    pub(super) epoch: Option<i64>,
    /// The type of the server-sent events (default `type`).
    #[serde(default)]
    #[param(value_type = Option<EventNames>, inline)]
    events: EventNames,
    /// A ticket for the event stream, in place of `Authorization`.
    #[expect(dead_code, reason = "used by the authentication")]
    ticket: Option<String>,
    /// The header `Last-Event-ID` for clients that cannot set it.
    #[serde(default, rename = "lastEventId")]
    #[param(value_type = Option<i64>, minimum = 0)]
    last_event_id: Option<String>,
}

impl FeedQuery {
    /// The filter; an error if there is no such context or stream.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
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

    /// Returns the epoch of the log; an error if the query names another one, or if `after` is beyond the
    /// head.
    pub(super) async fn check(
        &self,
        api: &Api,
        after: Option<(&str, Position)>,
    ) -> Result<i64, Problem> {
        let epoch = api.store.owner().await?.epoch;
        if let Some(expected) = self.epoch.filter(|expected| *expected != epoch) {
            let detail = format!(
                "the epoch of the log is {epoch}, not {expected}: it was restored from a backup, and \
                 positions may mean other events; read it again from the start"
            );
            let problem = Problem::new(StatusCode::CONFLICT, "epoch_changed", detail);
            return Err(problem.member("epoch", epoch));
        }
        let head = api.store.head().await?;
        match after {
            Some((name, after)) if after > head => {
                let detail = format!(
                    "the log ends at {head}, before {after}, in epoch {epoch}; if it was restored \
                     from a backup, read it again from the start"
                );
                Err(Problem::parameter(name, detail))
            }
            _ => Ok(epoch),
        }
    }

    /// The position in `lastEventId`; none if it is missing or empty.
    fn last_event_id(&self) -> Result<Option<Position>, Problem> {
        let Some(text) = self.last_event_id.as_ref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let position = text.parse().ok().filter(|position| *position >= 0).map(Position);
        let invalid = || Problem::parameter("lastEventId", "must be a position: 0 or higher");
        position.map(Some).ok_or_else(invalid)
    }

    /// The position in `after`, if there is one.
    pub(super) fn after(&self) -> Result<Option<Position>, Problem> {
        checked("after", self.after)
    }
}

/// The position in the parameter `name`, if there is one; 422 if it is negative.
fn checked(name: &'static str, position: Option<Position>) -> Result<Option<Position>, Problem> {
    match position {
        Some(Position(..0)) => Err(Problem::parameter(name, "must be a position: 0 or higher")),
        position => Ok(position),
    }
}

/// Which events of a list, and their order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only events after this position (default 0).
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<Position>,
    /// Only events before this position.
    #[param(value_type = Option<i64>, minimum = 0)]
    before: Option<Position>,
    /// Only events recorded at this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Only events recorded before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// `asc` (default): in order of position, for feeds; `desc`: the newest first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Most items on the page (default 100).
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
    /// The epoch of the log that `after` belongs to, from `Tributary-Epoch`: 409 `epoch_changed` if the
    /// log has another one.
    epoch: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// List events of the log
///
/// In order of position. The response has a link to the next page at the end of the log, too: follow
/// it again later to get the events committed since. With `order=desc` or an upper bound (`before`,
/// `to`), the list ends.
#[utoipa::path(
    get, path = "/api/v1/events", tag = tags::EVENTS, params(ListQuery),
    responses((status = 200, description = "Events in the order of the list", body = Page<EventRow>,
        headers(("Tributary-Position" = i64, description = "All matching events up to this position are on this page or an earlier one; with `order=desc`, the last position of the log"),
        ("Tributary-Epoch" = i64, description = "Epoch of the log, which grows when it is restored from a backup"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 409, description = "The log has another epoch (`epoch_changed`)"),
        (status = 422, description = "A parameter is invalid, or `after` is beyond the end of the log"),
        (status = 403, description = "The caller is not an operator")),
)]
async fn feed(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    Operator(caller): Operator,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let ListQuery { after, before, from, to, order, limit, context, event_type, stream, epoch } =
        query;
    let query = FeedQuery { after, context, event_type, stream, epoch, ..FeedQuery::default() };
    let (filter, mut after) = (query.filter()?, query.after()?.unwrap_or_default());
    let epoch = query.check(&api, Some(("after", after))).await?;
    let head = api.store.head().await?;
    let end = Position(head.0.saturating_add(1));
    let before = checked("before", before)?;
    let mut until = before.unwrap_or(end).clamp(Position::START, end);
    if let Some(from) = from {
        after = after.max(api.store.last_before(from).await?);
    }
    if let Some(to) = to {
        until = until.min(Position(api.store.last_before(to).await?.0 + 1));
    }
    let limit = limit.into();
    let (page, next, position) = if order == Order::Desc {
        let page = api.store.read_back(until, after, &filter, limit).await?;
        let more = page.through.0 > after.0 + 1;
        let next = more.then(|| ("before", page.through.to_string()));
        (page, next, head)
    } else {
        let last = Position(until.0 - 1);
        let page = api.store.read(after, last, &filter, limit).await?;
        let more = until == end || page.through < last;
        let next = more.then(|| ("after", page.through.to_string()));
        let position = page.through;
        (page, next, position)
    };
    let mut response = page::respond(&uri, rows(&caller, &page.events)?, next, position);
    response.headers_mut().insert(EPOCH, epoch.into());
    Ok(response)
}

fn rows(caller: &Caller, events: &[RawEvent]) -> Result<Vec<EventRow>, Problem> {
    let rows = events.iter().map(|event| EventRow::seen_by(caller, event));
    rows.collect::<Result<_, _>>().map_err(|error| Problem::internal(&error))
}

/// Stream events of the log
///
/// As server-sent events: `id` is the position, `event` the type (or, with `events=message`, always
/// `message`), `data` the event. A client that reconnects with `Last-Event-ID`, or with `lastEventId` in
/// the query, misses no event. Operators receive all events, users those of their own orders. Browsers open
/// the stream with a ticket (`POST /api/v1/events/tickets`), since `EventSource` sends no token. The stream
/// ends with a comment when the token expires: reconnect with the next one. A caller may have 16 event streams at a time (by
/// default); a further one is refused with 429 `too_many_streams`.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = tags::EVENTS,
    params(FeedQuery, ("Last-Event-ID" = Option<i64>, Header, description = "Position of the last event received; takes precedence over `lastEventId` and `after`")),
    responses((status = 200, description = "Events as they are committed", body = String,
        content_type = "text/event-stream",
        headers(("Tributary-Epoch" = i64, description = "Epoch of the log, which grows when it is restored from a backup"))),
        (status = 403, description = "The caller is not an operator, and asks for other events than those of own orders"),
        (status = 404, description = "The stream is not that of an order of the caller"),
        (status = 409, description = "The log has another epoch (`epoch_changed`)"),
        (status = 422, description = "A parameter is invalid, or `Last-Event-ID` is beyond the end of the log")),
)]
async fn listen(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    caller: Caller,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let resumed = match headers::position(&headers, "Last-Event-ID")? {
        Some(after) => Some(("Last-Event-ID", after)),
        None => query.last_event_id()?.map(|after| ("lastEventId", after)),
    };
    let after = resumed.or(query.after()?.map(|after| ("after", after)));
    let epoch = query.check(&api, after).await?;
    let after = match after {
        Some((_, after)) => after,
        None => api.store.head().await?,
    };
    let (subject, valid_for) = (caller.subject.clone(), caller.valid_for());
    let audience = Audience::new(Arc::clone(&api), caller, query.events)?;
    let mut filter = query.filter()?;
    audience.narrow(&mut filter).await?;
    let slot = api.admission.stream(&subject)?;
    let subscription = api.feed.subscribe(after, filter);
    let mut response = sse::respond(subscription, audience, slot, valid_for, api.shutdown.clone());
    response.headers_mut().insert(EPOCH, epoch.into());
    Ok(response)
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
