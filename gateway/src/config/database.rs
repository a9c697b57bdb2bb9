//! Options of Postgres and NATS.

use clap::Args;
use serde::Serialize;

use super::ServerUrl;

/// The log and the read models.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct Database {
    /// URL of the database, with the application's role, which may append to the log and read it
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: ServerUrl,
    /// Connections that this process opens at most, besides that of the appender; 2 to 500
    #[arg(long, env = "DATABASE_CONNECTIONS", value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(2..=500))]
    pub database_connections: u32,
}

impl Database {
    /// Returns the options of a connection.
    pub fn options(&self) -> Result<sqlx::postgres::PgConnectOptions, sqlx::Error> {
        self.database_url.expose().parse()
    }

    /// Returns the password in the URL, if there is one.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let url = url::Url::parse(self.database_url.expose())?;
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8();
        Ok(url.password().map(decode).transpose()?.map(String::from))
    }
}

/// The database as its owner, for migrations only.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct Admin {
    /// URL of the database, with the role that owns it and may change its schema
    #[arg(long, env = "DATABASE_ADMIN_URL", value_name = "URL", hide_env_values = true)]
    pub database_admin_url: ServerUrl,
}

/// NATS. Without it, the intake of works and the publication of events wait; all else continues.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "NATS")]
pub struct Bus {
    /// URL of NATS with `JetStream`; separate the servers of a cluster by commas
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: ServerUrl,
}
