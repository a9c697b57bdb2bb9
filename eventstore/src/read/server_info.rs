//! What the server of the log is: its version and what it can do.

use serde::Serialize;

use crate::error::Unavailable;
use crate::read::log_reader::LogReader;

/// A server of Postgres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ServerInfo {
    /// Version of the server.
    pub version: String,
    /// Version of TimescaleDB in this database; none if it is not installed.
    pub timescaledb: Option<String>,
    /// Whether a commit waits for a standby.
    pub synchronous_replication: bool,
}

impl LogReader {
    /// Returns the version and the capabilities of Postgres.
    pub async fn server_info(&self) -> Result<ServerInfo, Unavailable> {
        let info = sqlx::query_as(
            "select current_setting('server_version') as version,
                    (select extversion from pg_extension where extname = 'timescaledb')
                      as timescaledb,
                    current_setting('synchronous_standby_names') <> '' as synchronous_replication",
        );
        Ok(info.fetch_one(self.pool()).await?)
    }
}
