//! Parked streams as an operator sees them, and what can be decided about them.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

/// A stream that a consumer has set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub consumer: String,
    pub stream_id: String,
    /// The event that could not be applied.
    pub position: Position,
    pub attempts: i32,
    pub error: String,
    pub parked_at: DateTime<Utc>,
    /// Another try was asked for, and is not over.
    pub retrying: bool,
}

/// An event that a consumer passes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub consumer: String,
    pub position: Position,
    pub stream_id: String,
    pub error: String,
    pub reason: String,
    pub skipped_by: String,
    pub skipped_at: DateTime<Utc>,
}

/// Passing over the event that a stream is parked at.
#[derive(Debug, Clone, Copy)]
pub struct Skip<'a> {
    pub reason: &'a str,
    pub by: &'a str,
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The consumer will act on it.
    Taken,
    /// There is no such parked stream.
    NotParked,
    /// It is being tried again: what it stops at may not be what was meant.
    Retrying,
}

const COLUMNS: &str = "consumer, stream_id, position, attempts, error, parked_at,
                       retry_requested_at is not null as retrying";

/// The parked streams after `after`, a consumer and a stream, in order.
pub async fn list(
    pool: &PgPool,
    after: Option<(&str, &str)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (consumer, stream_id) = after.unwrap_or_default();
    let sql = format!(
        "select {COLUMNS} from log.parked
         where parked and (consumer, stream_id) > ($1, $2)
         order by consumer, stream_id limit $3"
    );
    let query = sqlx::query(&sql).bind(consumer).bind(stream_id).bind(limit);
    query.fetch_all(pool).await?.iter().map(row).collect()
}

/// One parked stream.
pub async fn get(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
) -> Result<Option<Row>, sqlx::Error> {
    let sql = format!(
        "select {COLUMNS} from log.parked where parked and consumer = $1 and stream_id = $2"
    );
    let found = sqlx::query(&sql).bind(consumer).bind(stream_id).fetch_optional(pool).await?;
    found.as_ref().map(row).transpose()
}

/// Asks the consumer to try a stream again. Asking twice is asking once.
pub async fn request(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
) -> Result<Decision, sqlx::Error> {
    let asked = sqlx::query(
        "update log.parked
         set retry_requested_at = coalesce(retry_requested_at, clock_timestamp()), retry_starts = 0
         where consumer = $1 and stream_id = $2 and parked",
    )
    .bind(consumer)
    .bind(stream_id)
    .execute(pool)
    .await?;
    Ok(if asked.rows_affected() == 1 { Decision::Taken } else { Decision::NotParked })
}

/// Passes over the event that a stream is parked at, for ever, and asks the consumer to go on behind
/// it. Who, when and why is recorded in the same transaction.
pub async fn skip(
    pool: &PgPool,
    consumer: &str,
    stream_id: &str,
    skip: Skip<'_>,
) -> Result<Decision, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let retrying: Option<bool> = sqlx::query_scalar(
        "select retry_requested_at is not null from log.parked
         where consumer = $1 and stream_id = $2 and parked for update",
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

/// What was passed over, after `after`, a consumer and a position, in order.
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
