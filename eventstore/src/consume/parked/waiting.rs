//! Rows of events at which a consumer waits for a newer build: not parked, with 0 attempts.

use eventsourcing::Position;
use sqlx::PgPool;

use crate::consume::failed::Failed;

/// Records that `consumer` waits at the event `at`, and returns its checkpoint.
pub(crate) async fn wait_at(
    pool: &PgPool,
    consumer: &str,
    at: &Failed,
) -> Result<Position, sqlx::Error> {
    forget_passed(pool, consumer).await?;
    sqlx::query(
        "insert into log.parked as p (consumer, stream_id, position, attempts, error, parked)
         values ($1, $2, $3, 0, $4, false)
         on conflict (consumer, stream_id) do update
         set position = excluded.position, attempts = 0, error = excluded.error,
             parked_at = clock_timestamp(), retry_requested_at = null
         where not p.parked",
    )
    .bind(consumer)
    .bind(at.key.as_str())
    .bind(at.position.0)
    .bind(&at.error)
    .execute(pool)
    .await?;
    let checkpoint = sqlx::query_scalar("select position from log.checkpoint where consumer = $1");
    checkpoint.bind(consumer).fetch_one(pool).await.map(Position)
}

/// Whether `consumer` still waits at the event `at`: its checkpoint is the one at the beginning, and no
/// operator has requested a retry or decided to skip the event.
pub(crate) async fn waits_at(
    pool: &PgPool,
    consumer: &str,
    at: &Failed,
    checkpoint: Position,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (
           select from log.checkpoint c
           join log.parked p on p.consumer = c.consumer and p.stream_id = $2
           where c.consumer = $1 and c.position = $3 and p.position = $4
             and not p.parked and p.attempts = 0 and p.retry_requested_at is null)",
    )
    .bind(consumer)
    .bind(at.key.as_str())
    .bind(checkpoint.0)
    .bind(at.position.0)
    .fetch_one(pool)
    .await
}

/// Forgets the events at which `consumer` has waited or that it has suspected, and that its checkpoint
/// has passed since, in this process or in another.
pub(crate) async fn forget_passed(pool: &PgPool, consumer: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from log.parked p using log.checkpoint c
         where p.consumer = $1 and c.consumer = $1 and not p.parked and p.position <= c.position",
    )
    .bind(consumer)
    .execute(pool)
    .await?;
    Ok(())
}
