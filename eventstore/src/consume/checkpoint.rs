//! Checkpoints: how far each consumer of the log has come.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::{PgConnection, Row};

use crate::{EventStore, Unavailable};

/// Moves the two looks on once the later one is old enough; `position` stands for the new one. Both
/// moments are those of the statement, so that a look's position and time belong together.
macro_rules! look {
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
                 as look (due))"
        )
    };
}

/// Where a consumer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub consumer: String,
    pub position: Position,
    pub starts: i32,
    pub heartbeat_at: DateTime<Utc>,
}

impl Checkpoint {
    /// Moves `consumer` from one position to another, inside the transaction that holds the
    /// effects. False when it does not stand at `from`: another process has moved it, and the
    /// transaction must be given up. This fence, not a lock, keeps two runners from both winning.
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
            look!("$3"),
            " where consumer = $1 and position = $2",
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

impl EventStore {
    /// Where `consumer` stands, counting this as a start; it begins before the first event. Its rate
    /// is measured from here: what it did before it was down says nothing.
    pub async fn start_consumer(&self, consumer: &str) -> Result<Checkpoint, Unavailable> {
        let row = sqlx::query(
            "insert into log.checkpoint as c
               (consumer, position, starts, earlier_position, earlier_at, later_position, later_at)
             values ($1, 0, 1, 0, statement_timestamp(), 0, statement_timestamp())
             on conflict (consumer) do update
             set starts = c.starts + 1, heartbeat_at = clock_timestamp(),
                 earlier_position = c.position, earlier_at = statement_timestamp(),
                 later_position = c.position, later_at = statement_timestamp()
             returning consumer, position, starts, heartbeat_at",
        )
        .bind(consumer)
        .fetch_one(&self.pool)
        .await?;
        from_row(&row).map_err(Unavailable)
    }

    /// Where every consumer stands.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, Unavailable> {
        let rows = sqlx::query(
            "select consumer, position, starts, heartbeat_at from log.checkpoint order by consumer",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(from_row).collect::<Result<_, _>>().map_err(Unavailable)
    }

    /// Says where `consumer` stands that keeps its position elsewhere, and that it lives. No further
    /// than the log: what it has beyond that is of a history that is gone.
    pub async fn report(&self, consumer: &str, position: Position) -> Result<(), Unavailable> {
        sqlx::query(concat!(
            "update log.checkpoint c
             set position = least($2, h.position), heartbeat_at = clock_timestamp(), starts = 0, ",
            look!("least($2, h.position)"),
            " from log.head h where consumer = $1",
        ))
        .bind(consumer)
        .bind(position.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Says that `consumer` lives, though it had nothing to do.
    pub async fn heartbeat(&self, consumer: &str) -> Result<(), Unavailable> {
        sqlx::query(concat!(
            "update log.checkpoint set heartbeat_at = clock_timestamp(), starts = 0, ",
            look!("position"),
            " where consumer = $1",
        ))
        .bind(consumer)
        .execute(&self.pool)
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
