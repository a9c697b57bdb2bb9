//! Parked streams: a consumer of the log sets a stream aside when one of its events cannot be
//! applied. Later events of the stream wait behind it; everything else goes on.

mod admin;
mod retry;

pub use admin::{Decision, Row, Skip, Skipped, get, list, request, skip, skipped};
pub use retry::{Retry, again, begin, finish, lock, progress, requested, still_parked};

use std::collections::{HashMap, HashSet};

use eventsourcing::{Position, StreamId};
use sqlx::{PgConnection, PgPool, Row as _};

use crate::RawEvent;

/// Attempts at one event before its stream is parked.
pub const MAX_ATTEMPTS: i32 = 3;

/// The streams a consumer has set aside, each with the event it stopped at; and the events it
/// passes over for ever, because somebody decided so.
#[derive(Debug, Default)]
pub struct Parked {
    streams: HashMap<StreamId, Position>,
    skipped: HashSet<Position>,
}

impl Parked {
    /// What `consumer` has set aside, and what it passes over.
    pub async fn load(pool: &PgPool, consumer: &str) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query(
            "select stream_id, position from log.parked where consumer = $1 and parked",
        )
        .bind(consumer)
        .fetch_all(pool)
        .await?;
        let mut parked = Self::default();
        for row in rows {
            let stream = StreamId::parse(row.try_get("stream_id")?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
            parked.insert(stream, Position(row.try_get("position")?));
        }
        parked.skipped = Self::load_skipped(pool, consumer).await?;
        Ok(parked)
    }

    /// The events `consumer` passes over: all that a rebuild has to know of them. As many as people
    /// have decided on one by one.
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

    pub fn contains(&self, stream: &StreamId) -> bool {
        self.streams.contains_key(stream)
    }

    /// Where a stream stopped, if it is set aside.
    pub fn since(&self, stream: &StreamId) -> Option<Position> {
        self.streams.get(stream).copied()
    }

    /// Passes over these events too.
    pub fn skip(&mut self, positions: impl IntoIterator<Item = Position>) {
        self.skipped.extend(positions);
    }

    /// Whether the event at `position` is passed over.
    pub fn skips(&self, position: Position) -> bool {
        self.skipped.contains(&position)
    }

    pub fn insert(&mut self, stream: StreamId, position: Position) {
        self.streams.insert(stream, position);
    }
}

/// The event that may be to blame, and the stream that is set aside for it: its own in a
/// projection, that of what it concerns in a process manager.
#[derive(Debug, Clone, Copy)]
pub struct Suspect<'a> {
    pub stream: &'a StreamId,
    pub position: Position,
}

impl<'a> From<&'a RawEvent> for Suspect<'a> {
    fn from(event: &'a RawEvent) -> Self {
        Self { stream: &event.stream, position: event.position }
    }
}

/// An error with all its causes, as it is kept for those who will look for what is wrong.
pub fn reason(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Counts an attempt at `event`, in a transaction of its own. Returns how many there were; none if
/// another process has parked its stream meanwhile, which whoever tries does not know yet.
pub async fn count(
    connection: &mut PgConnection,
    consumer: &str,
    event: &Suspect<'_>,
    error: &str,
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
    .bind(event.stream.as_str())
    .bind(event.position.0)
    .bind(error)
    .fetch_optional(connection)
    .await
}

/// Sets the stream of `event` aside.
pub async fn park(
    connection: &mut PgConnection,
    consumer: &str,
    event: &Suspect<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update log.parked set parked = true, parked_at = clock_timestamp()
         where consumer = $1 and stream_id = $2",
    )
    .bind(consumer)
    .bind(event.stream.as_str())
    .execute(connection)
    .await?;
    tracing::error!(
        consumer, position = %event.position, stream = %event.stream,
        "the stream is parked",
    );
    Ok(())
}

/// The event was applied after all.
pub async fn clear(
    connection: &mut PgConnection,
    consumer: &str,
    event: &Suspect<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from log.parked where consumer = $1 and stream_id = $2 and not parked")
        .bind(consumer)
        .bind(event.stream.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
