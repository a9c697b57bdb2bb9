//! Parked streams over HTTP: look at what a consumer has set aside, have it tried again, or pass over
//! the event it stopped at. The consumer itself acts; here it is asked, and waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::parked::{self, Decision};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Operator;
use super::events::EventRow;
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::{Fault, Problem};
use super::{Api, tags, wait};

/// Longest reason, in characters.
const MAX_REASON: usize = 1_000;
/// Between two looks at what became of a request.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(skipped))
        .routes(routes!(get))
        .routes(routes!(retry))
        .routes(routes!(skip))
}

/// A stream that a consumer has set aside.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Parked)]
struct Row {
    /// `consumer:stream_id`.
    key: String,
    /// The projection or process manager.
    consumer: String,
    /// Later events of this stream wait; those of others go on.
    stream_id: String,
    /// The event it stopped at; while it is retried, the one that is next.
    position: i64,
    attempts: i32,
    /// Why it could not be applied.
    error: String,
    parked_at: DateTime<Utc>,
    /// It is being tried again.
    retrying: bool,
}

impl From<parked::Row> for Row {
    fn from(row: parked::Row) -> Self {
        Self {
            key: format!("{}:{}", row.consumer, row.stream_id),
            consumer: row.consumer,
            stream_id: row.stream_id,
            position: row.position.0,
            attempts: row.attempts,
            error: row.error,
            parked_at: row.parked_at,
            retrying: row.retrying,
        }
    }
}

/// A parked stream, with the event it stopped at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedWithEvent)]
struct Shown {
    #[serde(flatten)]
    row: Row,
    /// None while it is retried, if the next event is of another stream.
    event: Option<EventRow>,
}

/// An event that a consumer passes over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Skipped)]
struct SkippedRow {
    consumer: String,
    position: i64,
    stream_id: String,
    /// What was wrong with it.
    error: String,
    reason: String,
    skipped_by: String,
    skipped_at: DateTime<Utc>,
}

impl From<parked::Skipped> for SkippedRow {
    fn from(row: parked::Skipped) -> Self {
        Self {
            consumer: row.consumer,
            position: row.position.0,
            stream_id: row.stream_id,
            error: row.error,
            reason: row.reason,
            skipped_by: row.skipped_by,
            skipped_at: row.skipped_at,
        }
    }
}

/// How a parked stream fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// It flows again.
    Applied,
    /// It failed again.
    Parked,
    /// Its consumer has not come to it, or not to its end; it goes on without you.
    Retrying,
}

/// What became of a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedOutcome)]
struct BecameOf {
    key: String,
    outcome: Fate,
    /// The stream, if it is parked still.
    parked: Option<Row>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// How long to wait.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `wait::preferred`; this is for the document")]
struct Patience {
    /// `wait=N`: answer once it is over, after at most N seconds.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
}

/// Why an event is passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipRequest {
    /// For those who will ask; kept for ever.
    #[schema(
        min_length = 1,
        max_length = 1000,
        pattern = r"^[^\u0000]*$",
        example = "sent by a build that never was"
    )]
    reason: String,
}

/// List what is parked
///
/// By consumer and stream.
#[utoipa::path(
    get, path = "/api/v1/parked", tag = tags::OPERATIONS, params(ListQuery),
    responses((status = 200, description = "A page of parked streams", body = Page<Row>),
        (status = 403, description = "Not an operator")),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let after: Option<(String, String)> = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let head = api.store.head().await?;
    let after = after.as_ref().map(|(consumer, stream)| (consumer.as_str(), stream.as_str()));
    let rows = parked::list(api.store.pool(), after, query.limit.into()).await?;
    let rows = rows.into_iter().map(Row::from).collect();
    page::full(&uri, rows, query.limit, head, |last: &Row| {
        (last.consumer.clone(), last.stream_id.clone())
    })
}

/// List what is passed over
///
/// Events that somebody decided to skip: which, who, when and why.
#[utoipa::path(
    get, path = "/api/v1/skipped", tag = tags::OPERATIONS, params(ListQuery),
    responses((status = 200, description = "A page of skipped events", body = Page<SkippedRow>),
        (status = 403, description = "Not an operator")),
)]
async fn skipped(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let after: Option<(String, i64)> = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let head = api.store.head().await?;
    let after = after.as_ref().map(|(consumer, at)| (consumer.as_str(), Position(*at)));
    let rows = parked::skipped(api.store.pool(), after, query.limit.into()).await?;
    let rows = rows.into_iter().map(SkippedRow::from).collect();
    page::full(&uri, rows, query.limit, head, |last: &SkippedRow| {
        (last.consumer.clone(), last.position)
    })
}

/// The two halves of a key.
fn halves(key: &str) -> Result<(&str, &str), Problem> {
    key.split_once(':').filter(|_| !key.contains('\0')).ok_or_else(no_such)
}

fn no_such() -> Problem {
    Problem::not_found("parked stream")
}

/// Show a parked stream
///
/// With the event it stopped at.
#[utoipa::path(
    get, path = "/api/v1/parked/{key}", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`")),
    responses((status = 200, description = "The stream", body = Shown),
        (status = 403, description = "Not an operator"),
        (status = 404, description = "Nothing of this key is parked")),
)]
async fn get(
    State(api): State<Arc<Api>>,
    _: Operator,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    let (consumer, stream) = halves(&key)?;
    let head = api.store.head().await?;
    let row = parked::get(api.store.pool(), consumer, stream).await?.ok_or_else(no_such)?;
    let events = api.store.at_positions(&[row.position]).await?;
    let event = events.first().map(EventRow::new).transpose()?;
    Ok(page::one(Shown { row: row.into(), event }, None, head))
}

/// Try a parked stream again
///
/// Its consumer applies everything of the stream from where it stopped, in order, and goes on with
/// it. If an event fails again, the stream is parked there.
#[utoipa::path(
    post, path = "/api/v1/parked/{key}/retry", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`"), Patience),
    responses((status = 200, description = "What became of it by now", body = BecameOf),
        (status = 403, description = "Not an operator"),
        (status = 404, description = "Nothing of this key is parked")),
)]
async fn retry(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (consumer, stream) = halves(&key)?;
    let decision = parked::request_retry(api.store.pool(), consumer, stream).await?;
    tracing::info!(key, by = caller.subject, "a parked stream is to be tried again");
    outcome(&api, &key, decision, &headers).await
}

/// Pass over the event a stream is parked at
///
/// For this consumer, for ever, also when it is rebuilt; the log keeps the event. The later ones of
/// the stream follow in order.
#[utoipa::path(
    post, path = "/api/v1/parked/{key}/skip", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`"), Patience),
    request_body = SkipRequest,
    responses((status = 200, description = "What became of it by now", body = BecameOf),
        (status = 403, description = "Not an operator"),
        (status = 404, description = "Nothing of this key is parked"),
        (status = 409, description = "It is being tried again; `retry_under_way`")),
)]
async fn skip(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    Path(key): Path<String>,
    headers: HeaderMap,
    Json { value: request, .. }: Json<SkipRequest>,
) -> Result<Response, Problem> {
    let (consumer, stream) = halves(&key)?;
    let characters = request.reason.chars().count();
    if !(1..=MAX_REASON).contains(&characters) || request.reason.contains('\0') {
        let detail = format!("1 to {MAX_REASON} characters, without U+0000");
        return Err(Problem::invalid("invalid_body", "a reason is needed")
            .fault(Fault::at("/reason", detail)));
    }
    let skip = parked::Skip { reason: &request.reason, by: &caller.subject };
    let decision = parked::skip(api.store.pool(), consumer, stream, skip).await?;
    outcome(&api, &key, decision, &headers).await
}

/// What became of a decision, as long as the caller prefers to wait for it.
async fn outcome(
    api: &Api,
    key: &str,
    decision: Decision,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    match decision {
        Decision::Taken => {}
        Decision::NotParked => return Err(no_such()),
        Decision::Retrying => {
            let detail = "it is being tried again; wait until that is over";
            return Err(Problem::new(StatusCode::CONFLICT, "retry_under_way", detail));
        }
    }
    let (consumer, stream) = halves(key)?;
    let until = Instant::now() + wait::preferred(headers).unwrap_or_default();
    let parked = loop {
        let row = parked::get(api.store.pool(), consumer, stream).await?;
        let over = row.as_ref().is_none_or(|row| !row.retrying);
        if over || Instant::now() >= until || api.shutdown.is_cancelled() {
            break row;
        }
        sleep(LOOK).await;
    };
    let fate = match &parked {
        None => Fate::Applied,
        Some(row) if row.retrying => Fate::Retrying,
        Some(_) => Fate::Parked,
    };
    let head = api.store.head().await?;
    let row = BecameOf { key: key.to_owned(), outcome: fate, parked: parked.map(Row::from) };
    Ok(page::one(row, None, head))
}
