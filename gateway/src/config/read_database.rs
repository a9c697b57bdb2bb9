//! Options of queries that are answered from a standby of Postgres.

use clap::Args;
use eventstore::ConnectOptions;
use serde::Serialize;

use super::{Database, ServerUrl};

/// A standby that answers queries.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct ReadDatabase {
    /// URL of a standby from which the HTTP API queries read models, with the application's role.
    /// A query that requires a position waits until the standby has it. Without this option, queries
    /// go to --database-url
    #[arg(long, env = "DATABASE_READ_URL", value_name = "URL", hide_env_values = true)]
    pub database_read_url: Option<ServerUrl>,
}

impl ReadDatabase {
    /// Returns the options of connections to the standby, if there is one. The password, the TLS options
    /// and the limits are those of `database`.
    pub fn options(&self, database: &Database) -> anyhow::Result<Option<ConnectOptions>> {
        let url = self.database_read_url.as_ref();
        url.map(|url| database.options_at("--database-read-url", url)).transpose()
    }

    /// Returns a message if the URL is invalid.
    pub(super) fn mistake(&self, database: &Database) -> Option<String> {
        self.options(database).err().map(|error| format!("{error:#}"))
    }
}
