//! Deadlines of a consumer: what is due at which time, and the request it follows from. They have a
//! table in the schema of the log, because a read model can be rebuilt, replaced or behind, and what
//! is due must not depend on that.

use chrono::{DateTime, Utc};
use eventsourcing::Metadata;
use sqlx::{PgConnection, PgPool, Row};

/// A deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// What is due; a consumer has one deadline for each key.
    pub key: String,
    /// Time at which it is due.
    pub due_at: DateTime<Utc>,
    /// Metadata of the events that follow.
    pub metadata: Metadata,
}

/// Sets the deadlines `set` of `consumer`, and removes those of the keys `met`. For the transaction
/// that moves the checkpoint.
pub async fn write(
    connection: &mut PgConnection,
    consumer: &str,
    set: &[Deadline],
    met: &[String],
) -> Result<(), sqlx::Error> {
    if !set.is_empty() {
        let metadata: Result<Vec<_>, _> =
            set.iter().map(|deadline| serde_json::to_string(&deadline.metadata)).collect();
        sqlx::query(
            "insert into log.deadline (consumer, key, due_at, metadata)
             select $1, key, due_at, metadata::json
             from unnest($2::text[], $3::timestamptz[], $4::text[]) as n (key, due_at, metadata)
             on conflict (consumer, key) do update
             set due_at = excluded.due_at, metadata = excluded.metadata",
        )
        .bind(consumer)
        .bind(set.iter().map(|deadline| deadline.key.as_str()).collect::<Vec<_>>())
        .bind(set.iter().map(|deadline| deadline.due_at).collect::<Vec<_>>())
        .bind(metadata.map_err(|error| sqlx::Error::Encode(error.into()))?)
        .execute(&mut *connection)
        .await?;
    }
    if !met.is_empty() {
        sqlx::query("delete from log.deadline where consumer = $1 and key = any($2)")
            .bind(consumer)
            .bind(met)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Returns the deadlines of `consumer` that are due at `now`, earliest first, at most `limit`.
pub async fn due(
    pool: &PgPool,
    consumer: &str,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Deadline>, sqlx::Error> {
    let rows = sqlx::query(
        "select key, due_at, metadata::text as metadata from log.deadline
         where consumer = $1 and due_at <= $2 order by due_at, key limit $3",
    )
    .bind(consumer)
    .bind(now)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let metadata = serde_json::from_str(row.try_get("metadata")?)
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
            Ok(Deadline { key: row.try_get("key")?, due_at: row.try_get("due_at")?, metadata })
        })
        .collect()
}

/// Removes the deadline of `key`, which was met.
pub async fn remove(pool: &PgPool, consumer: &str, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query("delete from log.deadline where consumer = $1 and key = $2")
        .bind(consumer)
        .bind(key)
        .execute(pool)
        .await?;
    Ok(())
}

/// Moves the deadline of `key` to `until`, after a failure: deadlines behind it get their turn.
pub async fn postpone(
    pool: &PgPool,
    consumer: &str,
    key: &str,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("update log.deadline set due_at = $3 where consumer = $1 and key = $2")
        .bind(consumer)
        .bind(key)
        .bind(until)
        .execute(pool)
        .await?;
    Ok(())
}
