//! The epoch of the log.

use sqlx::PgConnection;

/// Begins another epoch, after the log was restored from a backup: what was written after the
/// backup is gone, and its positions will be given to other events. Returns its number.
pub async fn begin_epoch(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("update log.head set epoch = epoch + 1 returning epoch")
        .fetch_one(connection)
        .await
}
