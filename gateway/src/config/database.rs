//! Options of Postgres and NATS.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::Serialize;
use url::Url;

use super::{Secret, ServerUrl};

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
        let url = Url::parse(self.database_url.expose())?;
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
    /// URL of NATS with `JetStream`, and its account; separate the servers of a cluster by commas
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: ServerUrl,
    /// Name of the account on NATS, if the URL does not name it
    #[arg(long, env = "NATS_USERNAME", value_name = "NAME")]
    pub nats_username: Option<String>,
    /// Password of the account
    #[arg(long, env = "NATS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub nats_password: Option<Secret>,
    /// File whose first line is the password of the account, in place of --nats-password
    #[arg(long, env = "NATS_PASSWORD_FILE", value_name = "FILE")]
    pub nats_password_file: Option<PathBuf>,
}

impl Bus {
    /// Returns the URL with the name and the password of the account. Do not print it.
    pub fn url(&self) -> anyhow::Result<String> {
        let url = self.nats_url.expose();
        let Some(name) = &self.nats_username else {
            return Ok(url.to_owned());
        };
        let password = self.password()?;
        let with_account = |server: &str| {
            let mut url = Url::parse(server.trim())?;
            url.set_username(name)
                .and_then(|()| url.set_password(Some(password.expose())))
                .map_err(|()| anyhow!("--nats-url cannot hold an account: it has no host"))?;
            Ok(url.to_string())
        };
        Ok(url.split(',').map(with_account).collect::<anyhow::Result<Vec<_>>>()?.join(","))
    }

    fn password(&self) -> anyhow::Result<Secret> {
        match (&self.nats_password, &self.nats_password_file) {
            (Some(password), None) => Ok(password.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).with_context(|| {
                    format!("cannot read the password of NATS from {}", file.display())
                })?;
                let line = text.lines().next().unwrap_or_default();
                line.parse().with_context(|| format!("the first line of {}", file.display()))
            }
            _ => bail!("NATS: set one of --nats-password and --nats-password-file"),
        }
    }

    /// Returns a message if the account is incomplete or named twice.
    pub fn mistake(&self) -> Option<String> {
        let named = self.nats_username.is_some();
        let passwords = [self.nats_password.is_some(), self.nats_password_file.is_some()];
        let passwords = passwords.into_iter().filter(|set| *set).count();
        if passwords != usize::from(named) {
            let message =
                "--nats-username needs --nats-password or --nats-password-file, and not both";
            Some(message.into())
        } else if named && self.nats_url.names_user() {
            Some("--nats-url and --nats-username both name an account".into())
        } else {
            None
        }
    }
}
