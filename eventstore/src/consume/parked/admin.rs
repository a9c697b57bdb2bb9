//! What an operator sees of parked streams, and decides about them.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

/// A parked stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the consumer that parked the stream.
    pub consumer: String,
    /// The parked stream.
    pub stream_id: String,
    /// Position of the event that could not be handled.
    pub position: Position,
    /// Failed attempts at the event; 0 if the consumer waits for a newer build, which knows the event.
    pub attempts: i32,
    /// Why the last attempt failed, with all causes.
    pub error: String,
    /// When the stream was parked, the last time.
    pub parked_at: DateTime<Utc>,
    /// Whether a retry was requested and has not ended.
    pub retrying: bool,
}

/// An event that a consumer skips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Name of the consumer that skips the event.
    pub consumer: String,
    /// Position of the event.
    pub position: Position,
    /// The stream that was parked because of the event.
    pub stream_id: String,
    /// Why the event could not be handled.
    pub error: String,
    /// Why the operator decided to skip the event.
    pub reason: String,
    /// Subject of the operator's token.
    pub skipped_by: String,
    /// When the operator decided.
    pub skipped_at: DateTime<Utc>,
}

/// An operator's decision to skip the event that a stream is parked at.
#[derive(Debug, Clone, Copy)]
pub struct Skip<'a> {
    /// Why the event is skipped.
    pub reason: &'a str,
    /// Subject of the operator's token.
    pub by: &'a str,
}

/// Outcome of a request for a retry or a skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The consumer acts on the request at its next heartbeat.
    Taken,
    /// The stream is not parked.
    NotParked,
    /// A retry is under way: the event that the stream is parked at may have changed.
    Retrying,
}

const COLUMNS: &str = "consumer, stream_id, position, attempts, error, parked_at,
                       retry_requested_at is not null as retrying";

/// Lists the parked streams after `after`, a consumer and a stream, in order; at most `limit`. Among
/// them are those with an event at which the consumer waits for a newer build, with 0 attempts.
pub async fn list(
    pool: &PgPool,
    after: Option<(&str, &str)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (consumer, stream_id) = after.unwrap_or_default();
    let sql = format!(
        "select {COLUMNS} from log.parked
         where (parked or attempts = 0) and (consumer, stream_id) > ($1, $2)
         order by consumer, stream_id limit $3"
    );
    let query = sqlx::query(&sql).bind(consumer).bind(stream_id).bind(limit);
    query.fetch_all(pool).await?.iter().map(row).collect()
}

/// Loads one parked stream; none if the stream is not parked.
pub async fn get(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
) -> Result<Option<Row>, sqlx::Error> {
    let sql = format!(
        "select {COLUMNS} from log.parked
         where (parked or attempts = 0) and consumer = $1 and stream_id = $2"
    );
    let found = sqlx::query(&sql).bind(consumer).bind(stream_id).fetch_optional(pool).await?;
    found.as_ref().map(row).transpose()
}

/// Requests a retry of a parked stream. A second request during the retry changes nothing.
pub async fn request_retry(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
) -> Result<Decision, sqlx::Error> {
    let requested = sqlx::query(
        "update log.parked
         set retry_requested_at = coalesce(retry_requested_at, clock_timestamp()), retry_starts = 0
         where consumer = $1 and stream_id = $2 and (parked or attempts = 0)",
    )
    .bind(consumer)
    .bind(stream_id)
    .execute(pool)
    .await?;
    Ok(if requested.rows_affected() == 1 { Decision::Taken } else { Decision::NotParked })
}

/// Skips the event that a stream is parked at, for ever, and requests a retry from the next event on.
/// Who decided so, when and why is recorded in the same transaction.
pub async fn skip(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
    skip: Skip<'_>,
) -> Result<Decision, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let retrying: Option<bool> = sqlx::query_scalar(
        "select retry_requested_at is not null from log.parked
         where consumer = $1 and stream_id = $2 and (parked or attempts = 0) for update",
    )
    .bind(consumer)
    .bind(stream_id)
    .fetch_optional(&mut *transaction)
    .await?;
    match retrying {
        None => return Ok(Decision::NotParked),
        Some(true) => return Ok(Decision::Retrying),
        Some(false) => {}
    }
    sqlx::query(
        "insert into log.skipped (consumer, position, stream_id, error, reason, skipped_by)
         select consumer, position, stream_id, error, $3, $4 from log.parked
         where consumer = $1 and stream_id = $2
         on conflict (consumer, position) do nothing",
    )
    .bind(consumer)
    .bind(stream_id)
    .bind(skip.reason)
    .bind(skip.by)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "update log.parked set retry_requested_at = clock_timestamp(), retry_starts = 0
         where consumer = $1 and stream_id = $2",
    )
    .bind(consumer)
    .bind(stream_id)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Decision::Taken)
}

/// Lists the skipped events after `after`, a consumer and a position, in order; at most `limit`.
pub async fn skipped(
    pool: &PgPool,
    after: Option<(&str, Position)>,
    limit: i64,
) -> Result<Vec<Skipped>, sqlx::Error> {
    let (consumer, Position(position)) = after.unwrap_or_default();
    let rows = sqlx::query(
        "select consumer, position, stream_id, error, reason, skipped_by, skipped_at
         from log.skipped where (consumer, position) > ($1, $2)
         order by consumer, position limit $3",
    )
    .bind(consumer)
    .bind(position)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Skipped {
                consumer: row.try_get("consumer")?,
                position: Position(row.try_get("position")?),
                stream_id: row.try_get("stream_id")?,
                error: row.try_get("error")?,
                reason: row.try_get("reason")?,
                skipped_by: row.try_get("skipped_by")?,
                skipped_at: row.try_get("skipped_at")?,
            })
        })
        .collect()
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        consumer: row.try_get("consumer")?,
        stream_id: row.try_get("stream_id")?,
        position: Position(row.try_get("position")?),
        attempts: row.try_get("attempts")?,
        error: row.try_get("error")?,
        parked_at: row.try_get("parked_at")?,
        retrying: row.try_get("retrying")?,
    })
}
