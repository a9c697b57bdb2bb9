//! Parked streams: a consumer parks a stream when one of its events cannot be handled. Later events
//! of the stream wait; everything else goes on. An operator requests a retry, or skips the event.
//!
//! A row of `log.parked` that is not parked holds the attempts counted for an event that may kill the
//! process or, with 0 attempts, the event at which the consumer waits for a newer build.

mod admin;
mod retry;
mod waiting;

pub use admin::{Decision, Row, Skip, Skipped, get, list, request_retry, skip, skipped};
pub use retry::{Retry, begin, park_again, progress, requested};
pub(super) use retry::{finish, lock, still_parked};
pub(super) use waiting::{forget_passed, wait_at, waits_at};

use std::collections::{HashMap, HashSet};

use eventsourcing::{Position, StreamId};
use sqlx::{PgConnection, PgPool, Row as _};

use super::failed::Failed;

/// Attempts at an event that kills the process, before its stream is parked.
pub(super) const MAX_ATTEMPTS: i32 = 3;
/// The error of an event that kills the process, which then cannot store another one.
pub(super) const KILLED: &str = "killed the process";

/// The streams that a consumer has parked, each with the position of the event that failed; and the
/// events that it skips for ever.
#[derive(Debug, Default)]
pub struct Parked {
    streams: HashMap<StreamId, Position>,
    skipped: HashSet<Position>,
}

impl Parked {
    /// Loads what `consumer` has parked, and what it skips.
    pub async fn load(pool: &PgPool, consumer: &str) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query(
            "select stream_id, position from log.parked where consumer = $1 and parked",
        )
        .bind(consumer)
        .fetch_all(pool)
        .await?;
        let mut parked = Self::default();
        for row in rows {
            let stream = StreamId::stored(row.try_get::<&str, _>("stream_id")?);
            parked.insert(stream, Position(row.try_get("position")?));
        }
        parked.skipped = Self::load_skipped(pool, consumer).await?;
        Ok(parked)
    }

    /// Loads the events that `consumer` skips. An operator decides on each of them, so they are few.
    pub async fn load_skipped(
        pool: &PgPool,
        consumer: &str,
    ) -> Result<HashSet<Position>, sqlx::Error> {
        let positions: Vec<i64> =
            sqlx::query_scalar("select position from log.skipped where consumer = $1")
                .bind(consumer)
                .fetch_all(pool)
                .await?;
        Ok(positions.into_iter().map(Position).collect())
    }

    /// Whether nothing is parked or skipped.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.skipped.is_empty()
    }

    /// Whether `stream` is parked.
    pub fn contains(&self, stream: &StreamId) -> bool {
        self.streams.contains_key(stream)
    }

    /// Whether an event at `position` that concerns `stream` is parked, or waits behind one that is.
    pub fn waits(&self, stream: &StreamId, position: Position) -> bool {
        self.streams.get(stream).is_some_and(|parked_at| *parked_at <= position)
    }

    /// Skips the events at these positions, too.
    pub fn skip(&mut self, positions: impl IntoIterator<Item = Position>) {
        self.skipped.extend(positions);
    }

    /// Whether the event at `position` is skipped.
    pub fn skips(&self, position: Position) -> bool {
        self.skipped.contains(&position)
    }

    /// Parks `stream` at the event at `position`.
    pub(super) fn insert(&mut self, stream: StreamId, position: Position) {
        self.streams.insert(stream, position);
    }
}

/// Counts an attempt at an event, in a transaction of its own. Returns how many there were; none if
/// another process has parked the stream meanwhile.
pub(super) async fn count(
    pool: &PgPool,
    consumer: &str,
    Failed { key, position, error }: &Failed,
) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into log.parked as p (consumer, stream_id, position, attempts, error, parked)
         values ($1, $2, $3, 1, $4, false)
         on conflict (consumer, stream_id) do update
         set attempts = case when p.position = excluded.position then p.attempts + 1 else 1 end,
             position = excluded.position, error = excluded.error
         where not p.parked
         returning attempts",
    )
    .bind(consumer)
    .bind(key.as_str())
    .bind(position.0)
    .bind(error)
    .fetch_optional(pool)
    .await
}

/// Parks the keys of `failed` at their events. False if another process has parked one of them.
pub(super) async fn park(
    connection: &mut PgConnection,
    consumer: &str,
    failed: &HashMap<StreamId, Failed>,
) -> Result<bool, sqlx::Error> {
    if failed.is_empty() {
        return Ok(true);
    }
    let parked = sqlx::query(
        "insert into log.parked as p (consumer, stream_id, position, attempts, error, parked)
         select $1, n.key, n.position, 1, n.error, true
         from unnest($2::text[], $3::bigint[], $4::text[]) as n (key, position, error)
         on conflict (consumer, stream_id) do update
         set attempts = case when p.position = excluded.position then greatest(p.attempts, 1)
                             else 1 end,
             position = excluded.position, error = excluded.error, parked = true,
             parked_at = clock_timestamp(), retry_requested_at = null, retry_starts = 0
         where not p.parked",
    )
    .bind(consumer)
    .bind(failed.keys().map(StreamId::as_str).collect::<Vec<_>>())
    .bind(failed.values().map(|failed| failed.position.0).collect::<Vec<_>>())
    // Postgres cannot store NUL.
    .bind(failed.values().map(|failed| failed.error.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(parked.rows_affected() == failed.len() as u64)
}

/// Forgets the attempts counted for `keys`: their events were handled after all.
pub(super) async fn clear(
    connection: &mut PgConnection,
    consumer: &str,
    keys: &[&str],
) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from log.parked where consumer = $1 and stream_id = any($2) and not parked",
    )
    .bind(consumer)
    .bind(keys)
    .execute(connection)
    .await?;
    Ok(())
}
