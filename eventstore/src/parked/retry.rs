//! Trying a parked stream again. The consumer itself does it, between two batches, when it sees the
//! request on its next heartbeat: it alone has the code, the checkpoint and the right connection.
//! How far a try has come stands in the row, so it can be interrupted anywhere. See ADR 13.

use domain::{Position, StreamId};
use sqlx::{PgConnection, PgPool, Row};

/// Times a try is begun without getting on, before it is taken to kill the process.
const MAX_STARTS: i32 = 5;

/// A parked stream that is to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub stream: StreamId,
    /// Everything of it from here on is still to be applied.
    pub position: Position,
}

/// What `consumer` is to try again. This counts as a start of each: one that has killed the process
/// several times is not tried any more.
pub async fn requested(pool: &PgPool, consumer: &str) -> Result<Vec<Retry>, sqlx::Error> {
    let rows = sqlx::query(
        "update log.parked
         set retry_starts = retry_starts + 1,
             retry_requested_at = case when retry_starts < $2 then retry_requested_at end,
             error = case when retry_starts < $2 then error else 'killed the process' end
         where consumer = $1 and parked and retry_requested_at is not null
         returning stream_id, position, retry_requested_at is not null as wanted",
    )
    .bind(consumer)
    .bind(MAX_STARTS)
    .fetch_all(pool)
    .await?;
    let mut retries = Vec::new();
    for row in rows {
        if row.try_get("wanted")? {
            let stream = StreamId::parse(row.try_get("stream_id")?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
            retries.push(Retry { stream, position: Position(row.try_get("position")?) });
        }
    }
    Ok(retries)
}

/// Locks the row of `retry` until the transaction ends; false if somebody else has got on with it.
pub async fn lock(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
) -> Result<bool, sqlx::Error> {
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

/// Everything before `position` has been applied, in this transaction or before it.
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

/// Everything of the stream up to `checkpoint` has been applied: it is free. False if the consumer
/// does not stand there: the transaction must be given up. The checkpoint stays locked until it
/// ends, so whoever is about to move it finds the stream free; see [`still_parked`].
pub async fn finish(
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
    tracing::info!(consumer, stream = %retry.stream, "the stream flows again");
    Ok(true)
}

/// The event at `position` failed again: the stream stays parked there.
pub async fn again(
    connection: &mut PgConnection,
    consumer: &str,
    retry: &Retry,
    position: Position,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update log.parked
         set attempts = case when position = $3 then attempts + 1 else 1 end,
             position = $3, error = $4, retry_requested_at = null, retry_starts = 0,
             parked_at = clock_timestamp()
         where consumer = $1 and stream_id = $2 and parked",
    )
    .bind(consumer)
    .bind(retry.stream.as_str())
    .bind(position.0)
    .bind(error)
    .execute(connection)
    .await?;
    tracing::error!(
        consumer, stream = %retry.stream, %position, error, "the stream is parked again",
    );
    Ok(())
}

/// Whether all of `streams`, whose events a batch left out, are parked still. Asked in the batch's
/// transaction after it has moved the checkpoint: if another process has set one of them free since,
/// the events that were left out would be nobody's.
pub async fn still_parked(
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
