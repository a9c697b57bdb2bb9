//! The epoch of the log: which of several histories the positions belong to.

use sqlx::PgConnection;

/// Increments the epoch after the log was restored from a backup, and returns the new one.
///
/// The events after the backup are lost and their positions will be assigned to other events;
/// consumers outside the database recognise that by the epoch. Needs a role that may update
/// `log.head`.
pub async fn begin_epoch(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("update log.head set epoch = epoch + 1 returning epoch")
        .fetch_one(connection)
        .await
}
