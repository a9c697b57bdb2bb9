//! Parked streams over HTTP: list and show them, retry one, or skip the event it is parked at. The
//! route only records the request; the consumer that parked the stream executes it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::parked::{self, Decision};
use tokio::time::{Instant, sleep};

use super::event_view::EventRow;
use super::headers;
use super::prelude::*;
use super::text::Text;

/// Time between two checks whether the consumer has executed a request.
const POLL: Duration = Duration::from_millis(50);

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list))
        .routes(routes!(skipped))
        .routes(routes!(get))
        .routes(routes!(retry))
        .routes(routes!(skip))
}

/// A stream that a consumer has parked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Parked)]
struct Row {
    /// `consumer:stream_id`.
    key: String,
    /// Name of the consumer: a projection or process manager.
    consumer: String,
    /// The stream. Its later events wait; those of other streams do not.
    stream_id: String,
    /// Position of the event that failed; during a retry, of the next event to apply.
    position: i64,
    /// Failed attempts to apply the event; 0 if the consumer waits for a newer build, which knows the
    /// event.
    attempts: i32,
    /// Why the event could not be applied.
    error: String,
    /// When the stream was parked.
    parked_at: DateTime<Utc>,
    /// Whether a retry is under way.
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

/// A parked stream with the event that failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedWithEvent)]
struct RowWithEvent {
    #[serde(flatten)]
    row: Row,
    /// The event; `null` during a retry if the next event belongs to another stream.
    event: Option<EventRow>,
}

/// An event that a consumer skips.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Skipped)]
struct SkippedRow {
    /// Name of the consumer.
    consumer: String,
    /// Position of the event.
    position: i64,
    /// Stream of the event.
    stream_id: String,
    /// Why the event could not be applied.
    error: String,
    /// Why the event is skipped.
    reason: String,
    /// Subject of the operator who decided to skip the event.
    skipped_by: String,
    /// When that was decided.
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

/// Progress of a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Fate)]
enum RetryStatus {
    /// All events were applied; the stream is no longer parked.
    Applied,
    /// An event failed; the stream is parked at it.
    Parked,
    /// The consumer has not finished the retry; it continues in the background.
    Retrying,
}

/// The outcome of a retry, as far as it is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedOutcome)]
struct RetryOutcome {
    /// `consumer:stream_id`.
    key: String,
    /// Progress of the retry.
    outcome: RetryStatus,
    /// The stream, if it is still parked.
    parked: Option<Row>,
}

/// Headers of a retry.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `headers::preferred_wait`; this is for the document")]
struct RetryHeaders {
    /// `wait=N`: respond once the retry is finished, after at most N seconds (at most 20). The
    /// default is not to wait.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
}

/// Why an event is skipped.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SkipRequest {
    /// The reason, for later readers. Kept for ever.
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 1000,
        pattern = r"^[^\u0000]*$",
        example = "written by a faulty build"
    )]
    reason: Text<1_000>,
}

/// List parked streams
///
/// In order of consumer and stream.
#[utoipa::path(
    get, path = "/api/v1/parked", tag = tags::OPERATIONS, params(PageQuery),
    responses((status = 200, description = "A page of parked streams", body = Page<Row>),
        (status = 403, description = "The caller is not an operator")),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after: Option<(String, String)> = page::after(query.cursor.as_ref())?;
    let head = api.store.head().await?;
    let after = after.as_ref().map(|(consumer, stream)| (consumer.as_str(), stream.as_str()));
    let rows = parked::list(api.store.pool(), after, query.limit.into()).await?;
    let rows = rows.into_iter().map(Row::from).collect();
    let key = |last: &Row| (last.consumer.clone(), last.stream_id.clone());
    page::full(&uri, rows, query.limit, head, key)
}

/// List skipped events
///
/// In order of consumer and position, each with the operator who skipped it and the reason.
#[utoipa::path(
    get, path = "/api/v1/skipped", tag = tags::OPERATIONS, params(PageQuery),
    responses((status = 200, description = "A page of skipped events", body = Page<SkippedRow>),
        (status = 403, description = "The caller is not an operator")),
)]
async fn skipped(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    _: Operator,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after: Option<(String, i64)> = page::after(query.cursor.as_ref())?;
    let head = api.store.head().await?;
    let after = after.as_ref().map(|(consumer, at)| (consumer.as_str(), Position(*at)));
    let rows = parked::skipped(api.store.pool(), after, query.limit.into()).await?;
    let rows = rows.into_iter().map(SkippedRow::from).collect();
    let key = |last: &SkippedRow| (last.consumer.clone(), last.position);
    page::full(&uri, rows, query.limit, head, key)
}

/// The consumer and the stream in a key.
fn split(key: &str) -> Result<(&str, &str), Problem> {
    key.split_once(':').filter(|_| !key.contains('\0')).ok_or_else(not_parked)
}

fn not_parked() -> Problem {
    Problem::not_found("parked stream")
}

/// Show a parked stream
///
/// With the event that failed.
#[utoipa::path(
    get, path = "/api/v1/parked/{key}", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`")),
    responses((status = 200, description = "The stream", body = RowWithEvent),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "No stream with this key is parked")),
)]
async fn get(
    State(api): State<Arc<Api>>,
    _: Operator,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    let (consumer, stream) = split(&key)?;
    let head = api.store.head().await?;
    let row = parked::get(api.store.pool(), consumer, stream).await?.ok_or_else(not_parked)?;
    let events = api.store.at_positions(&[row.position]).await?;
    let event = events.first().map(EventRow::new).transpose();
    let event = event.map_err(|error| Problem::internal(&error))?;
    Ok(page::one(RowWithEvent { row: row.into(), event }, None, head))
}

/// Retry a parked stream
///
/// The consumer applies the events of the stream in order, starting with the one that failed. If an
/// event fails again, the stream is parked there.
#[utoipa::path(
    post, path = "/api/v1/parked/{key}/retry", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`"), RetryHeaders),
    responses((status = 200, description = "The outcome so far", body = RetryOutcome),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "No stream with this key is parked")),
)]
async fn retry(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (consumer, stream) = split(&key)?;
    let decision = parked::request_retry(api.store.pool(), consumer, stream).await?;
    tracing::info!(key, by = caller.subject, "retry of a parked stream requested");
    outcome(&api, &key, decision, &headers).await
}

/// Skip the event at which a stream is parked
///
/// This consumer never applies the event, not even in a rebuild; the log keeps it. The later events
/// of the stream follow in order.
#[utoipa::path(
    post, path = "/api/v1/parked/{key}/skip", tag = tags::OPERATIONS,
    params(("key" = String, Path, description = "`consumer:stream_id`"), RetryHeaders),
    request_body = SkipRequest,
    responses((status = 200, description = "The outcome so far", body = RetryOutcome),
        (status = 403, description = "The caller is not an operator"),
        (status = 404, description = "No stream with this key is parked"),
        (status = 409, description = "A retry is under way (`retry_under_way`)")),
)]
async fn skip(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    Path(key): Path<String>,
    headers: HeaderMap,
    Json { value: SkipRequest { reason: Text(reason) } }: Json<SkipRequest>,
) -> Result<Response, Problem> {
    let (consumer, stream) = split(&key)?;
    let skip = parked::Skip { reason: &reason, by: &caller.subject };
    let decision = parked::skip(api.store.pool(), consumer, stream, skip).await?;
    outcome(&api, &key, decision, &headers).await
}

/// Waits for the consumer to execute a request as long as the caller prefers, and responds with the
/// outcome.
async fn outcome(
    api: &Api,
    key: &str,
    decision: Decision,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    match decision {
        Decision::Taken => {}
        Decision::NotParked => return Err(not_parked()),
        Decision::Retrying => {
            let detail = "a retry of this stream is under way; wait until it has finished";
            return Err(Problem::new(StatusCode::CONFLICT, "retry_under_way", detail));
        }
    }
    let (consumer, stream) = split(key)?;
    let until = Instant::now() + headers::preferred_wait(headers).unwrap_or_default();
    let parked = loop {
        let row = parked::get(api.store.pool(), consumer, stream).await?;
        let finished = row.as_ref().is_none_or(|row| !row.retrying);
        if finished || Instant::now() >= until || api.shutdown.is_cancelled() {
            break row;
        }
        sleep(POLL).await;
    };
    let outcome = match &parked {
        None => RetryStatus::Applied,
        Some(row) if row.retrying => RetryStatus::Retrying,
        Some(_) => RetryStatus::Parked,
    };
    let head = api.store.head().await?;
    let outcome = RetryOutcome { key: key.to_owned(), outcome, parked: parked.map(Row::from) };
    Ok(page::one(outcome, None, head))
}
