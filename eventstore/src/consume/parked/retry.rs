//! Rows of retries. The consumer itself retries, between two batches, when it finds the request at
//! its next heartbeat: it alone has the code, the checkpoint and the right connection. The row holds
//! how far a retry has come, so it can be interrupted anywhere. See ADR 13.

use eventsourcing::{Position, StreamId};
use sqlx::{PgConnection, PgPool, Row};

use super::KILLED;

/// Starts of a retry without progress, after which it is taken to kill the process.
const MAX_STARTS: i32 = 5;

/// A retry of a parked stream that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The parked stream.
    pub stream: StreamId,
    /// Every event from here on is still to be handled.
    pub position: Position,
}

/// The streams that `consumer` is to retry, in the order of the requests.
pub async fn requested(pool: &PgPool, consumer: &str) -> Result<Vec<StreamId>, sqlx::Error> {
    let streams: Vec<String> = sqlx::query_scalar(
        "select stream_id from log.parked
         where consumer = $1 and parked and retry_requested_at is not null
         order by retry_requested_at, stream_id",
    )
    .bind(consumer)
    .fetch_all(pool)
    .await?;
    Ok(streams.into_iter().map(StreamId::stored).collect())
}

/// Begins a retry of `stream`, and counts it: one that has killed the process five times is not
/// begun any more. Each is counted when its turn comes, so that none is blamed for what another one
/// did. None if no retry is requested any more.
pub async fn begin(
    pool: &PgPool,
    consumer: &str,
    stream: &StreamId,
) -> Result<Option<Retry>, sqlx::Error> {
    let row = sqlx::query(
        "update log.parked
         set retry_starts = retry_starts + 1,
             retry_requested_at = case when retry_starts < $3 then retry_requested_at end,
             error = case when retry_starts < $3 then error else $4 end
         where consumer = $1 and stream_id = $2 and parked and retry_requested_at is not null
         returning position, retry_requested_at is not null as wanted",
    )
    .bind(consumer)
    .bind(stream.as_str())
    .bind(MAX_STARTS)
    .bind(KILLED)
    .fetch_optional(pool)
    .await?;
    match row {
        Some(row) if row.try_get("wanted")? => {
            let position = Position(row.try_get("position")?);
            Ok(Some(Retry { stream: stream.clone(), position }))
        }
        _ => Ok(None),
    }
}

/// Locks the checkpoint and the row of `retry` until the transaction ends; false if another process
/// has made progress with the retry. While the checkpoint is locked, no rebuilt model replaces the
/// one that is written to.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
) -> Result<bool, sqlx::Error> {
    sqlx::query("select from log.checkpoint where consumer = $1 for update")
        .bind(consumer)
        .execute(&mut *connection)
        .await?;
    let found = sqlx::query(
        "select from log.parked
         where consumer = $1 and stream_id = $2 and position = $3 and parked for update",
    )
    .bind(consumer)
    .bind(retry.stream.as_str())
    .bind(retry.position.0)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Notes that everything before `position` has been handled, in this transaction or before it.
pub async fn progress(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update log.parked set position = $3, attempts = 0, retry_starts = 0
         where consumer = $1 and stream_id = $2",
    )
    .bind(consumer)
    .bind(retry.stream.as_str())
    .bind(position.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Frees the stream of `retry`, of which everything up to `checkpoint` has been handled. False, and
/// nothing is done, if the consumer's checkpoint is another one. The checkpoint stays locked until
/// the transaction ends, so a runner that waits to move it finds the stream free; see
/// [`still_parked`].
pub(crate) async fn finish(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
    checkpoint: Position,
) -> Result<bool, sqlx::Error> {
    let stands =
        sqlx::query("select from log.checkpoint where consumer = $1 and position = $2 for update")
            .bind(consumer)
            .bind(checkpoint.0)
            .fetch_optional(&mut *connection)
            .await?;
    if stands.is_none() {
        return Ok(false);
    }
    sqlx::query("delete from log.parked where consumer = $1 and stream_id = $2")
        .bind(consumer)
        .bind(retry.stream.as_str())
        .execute(connection)
        .await?;
    tracing::info!(consumer, stream = %retry.stream, "stream freed");
    Ok(true)
}

/// Parks the stream of `retry` at the event at `position`, which failed again. Does nothing if
/// another process has made progress meanwhile, as a build that can decode the event does: the stream
/// must not be set back to before what has been handled.
pub async fn park_again(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
    position: Position,
    error: &str,
) -> Result<(), sqlx::Error> {
    let parked = sqlx::query(
        "update log.parked
         set attempts = case when position = $3 then attempts + 1 else 1 end,
             position = $3, error = $4, retry_requested_at = null, retry_starts = 0,
             parked_at = clock_timestamp()
         where consumer = $1 and stream_id = $2 and parked
           and position = $5 and retry_requested_at is not null",
    )
    .bind(consumer)
    .bind(retry.stream.as_str())
    .bind(position.0)
    .bind(error)
    .bind(retry.position.0)
    .execute(connection)
    .await?;
    if parked.rows_affected() == 1 {
        tracing::error!(
            consumer, stream = %retry.stream, %position, error, "stream parked again",
        );
    }
    Ok(())
}

/// Whether all of `streams`, whose events a batch left out, are still parked. To be asked in the
/// batch's transaction after it has moved the checkpoint: if another process has freed one of them
/// since, no process would handle the events that were left out.
pub(crate) async fn still_parked(
    connection: &mut PgConnection,
    consumer: &str,
    streams: &[&str],
) -> Result<bool, sqlx::Error> {
    if streams.is_empty() {
        return Ok(true);
    }
    sqlx::query_scalar(
        "select count(*) = cardinality($2) from log.parked
         where consumer = $1 and parked and stream_id = any($2::text[])",
    )
    .bind(consumer)
    .bind(streams)
    .fetch_one(connection)
    .await
}
