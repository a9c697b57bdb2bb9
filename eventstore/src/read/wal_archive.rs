//! The archive of the WAL, as the server of the log reports it.

use chrono::{DateTime, Utc};

use crate::error::Unavailable;
use crate::read::log_reader::LogReader;

/// The archive of the WAL. Its times are lost when the statistics of Postgres are reset, as they are
/// after a crash.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct WalArchive {
    /// Whether Postgres archives (`archive_mode`).
    pub enabled: bool,
    /// When the last segment was archived.
    pub last_archived_at: Option<DateTime<Utc>>,
    /// When the last attempt failed.
    pub last_failed_at: Option<DateTime<Utc>>,
}

impl LogReader {
    /// Returns the state of the archive of the WAL.
    pub async fn wal_archive(&self) -> Result<WalArchive, Unavailable> {
        let archive = sqlx::query_as(
            "select current_setting('archive_mode') <> 'off' as enabled,
                    last_archived_time as last_archived_at, last_failed_time as last_failed_at
             from pg_stat_archiver",
        );
        Ok(archive.fetch_one(self.pool()).await?)
    }
}
