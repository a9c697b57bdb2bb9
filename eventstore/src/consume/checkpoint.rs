//! Checkpoints: the position up to which each consumer has handled the log.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::{PgConnection, Row};

use crate::{EventStore, LogReader, RelayReport, Unavailable};

/// Rotates the two rate samples every 5 s; `position` is that of the new one. Times are those of the
/// statement, so that the position and the time of a sample belong together.
macro_rules! rate_samples {
    ($position:literal) => {
        concat!(
            "(earlier_position, earlier_at, later_position, later_at) = (
               select case when due then later_position else earlier_position end,
                      case when due then later_at else earlier_at end,
                      case when due then ",
            $position,
            " else later_position end,
                      case when due then statement_timestamp() else later_at end
               from (select coalesce(later_at <= statement_timestamp() - interval '5 seconds', true))
                 as sample (due))"
        )
    };
}

/// Where a consumer starts that has no checkpoint yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Before the first event: the consumer handles the whole log.
    FirstEvent,
    /// After the last event: the consumer handles what is appended after its first start. For a
    /// consumer whose effects must not be those of events long past.
    Head,
}

/// The checkpoint of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the consumer.
    pub consumer: String,
    /// Every event up to this position has been handled.
    pub position: Position,
    /// Starts of the consumer since its last heartbeat or move.
    pub starts: i32,
    /// Time of the last heartbeat, by the clock of the database.
    pub heartbeat_at: DateTime<Utc>,
}

impl Checkpoint {
    /// Moves the checkpoint of `consumer` from one position to another, in the transaction that holds
    /// the effects. False if the checkpoint is not at `from`, because another process has moved it,
    /// or if `to` is after the head, where no event was read: the transaction must be rolled back.
    /// This fence, not a lock, lets one of two runners commit.
    pub async fn advance(
        connection: &mut PgConnection,
        consumer: &str,
        from: Position,
        to: Position,
        recorded_at: Option<DateTime<Utc>>,
    ) -> Result<bool, sqlx::Error> {
        let moved = sqlx::query(concat!(
            "update log.checkpoint
             set position = $3, starts = 0, heartbeat_at = clock_timestamp(),
                 recorded_at = coalesce($4, recorded_at), ",
            rate_samples!("$3"),
            " where consumer = $1 and position = $2 and $3 <= (select position from log.head)",
        ))
        .bind(consumer)
        .bind(from.0)
        .bind(to.0)
        .bind(recorded_at)
        .execute(connection)
        .await?;
        Ok(moved.rows_affected() == 1)
    }
}

impl LogReader {
    /// Returns the checkpoints of all consumers, by name.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, Unavailable> {
        let rows = sqlx::query(
            "select consumer, position, starts, heartbeat_at from log.checkpoint order by consumer",
        )
        .fetch_all(self.pool())
        .await?;
        Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
    }
}

impl EventStore {
    /// Returns the checkpoint of `consumer`, and counts a start. A new consumer starts before the
    /// first event. Its rate is measured from this start.
    pub async fn start_consumer(&self, consumer: &str) -> Result<Checkpoint, Unavailable> {
        self.begin_consumer(consumer, Start::FirstEvent, true).await
    }

    /// The same for a consumer that chooses where it starts without a checkpoint.
    pub async fn start_consumer_at(
        &self,
        consumer: &str,
        start: Start,
    ) -> Result<Checkpoint, Unavailable> {
        self.begin_consumer(consumer, start, true).await
    }

    /// Like [`EventStore::start_consumer_at`]. A start after an orderly failure is not one
    /// `after_crash`: such a failure shows that no event kills the process, and the starts are counted
    /// anew.
    pub(super) async fn begin_consumer(
        &self,
        consumer: &str,
        start: Start,
        after_crash: bool,
    ) -> Result<Checkpoint, Unavailable> {
        let row = sqlx::query(
            "insert into log.checkpoint as c
               (consumer, position, starts, earlier_position, earlier_at, later_position, later_at)
             select $1, start.position, 1, start.position, statement_timestamp(), start.position,
                    statement_timestamp()
             from (select case when $2 then position else 0 end from log.head) as start (position)
             on conflict (consumer) do update
             set starts = case when $3 then c.starts + 1 else 1 end,
                 heartbeat_at = clock_timestamp(),
                 earlier_position = c.position, earlier_at = statement_timestamp(),
                 later_position = c.position, later_at = statement_timestamp()
             returning consumer, position, starts, heartbeat_at",
        )
        .bind(consumer)
        .bind(start == Start::Head)
        .bind(after_crash)
        .fetch_one(self.pool())
        .await?;
        Ok(from_row(&row)?)
    }

    /// Stores the heartbeat of a consumer that keeps its checkpoint elsewhere, its position if it is
    /// known, and what it reports if it does, in one statement: an error belongs to its position. The
    /// position is at most the head: a consumer may be ahead of a log that was restored. The time of
    /// the first report of an error is kept until a report without one.
    pub async fn report(
        &self,
        consumer: &str,
        position: Option<Position>,
        report: Option<&RelayReport>,
    ) -> Result<(), Unavailable> {
        sqlx::query(concat!(
            "update log.checkpoint c
             set position = least(coalesce($2, c.position), h.position),
                 heartbeat_at = clock_timestamp(), starts = 0,
                 error = case when $3 then $4 else error end,
                 warning = case when $3 then $5 else warning end,
                 error_since = case when not $3 then error_since when $4 is null then null
                                    else coalesce(error_since, statement_timestamp()) end, ",
            rate_samples!("least(coalesce($2, c.position), h.position)"),
            " from log.head h where consumer = $1",
        ))
        .bind(consumer)
        .bind(position.map(|position| position.0))
        .bind(report.is_some())
        .bind(report.and_then(|report| report.error.as_deref()))
        .bind(report.and_then(|report| report.warning.as_deref()))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Stores a heartbeat of a consumer that had nothing to do.
    pub async fn heartbeat(&self, consumer: &str) -> Result<(), Unavailable> {
        sqlx::query(concat!(
            "update log.checkpoint set heartbeat_at = clock_timestamp(), starts = 0, ",
            rate_samples!("position"),
            " where consumer = $1",
        ))
        .bind(consumer)
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

fn from_row(row: &sqlx::postgres::PgRow) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        consumer: row.try_get("consumer")?,
        position: Position(row.try_get("position")?),
        starts: row.try_get("starts")?,
        heartbeat_at: row.try_get("heartbeat_at")?,
    })
}
