//! Options of Postgres and NATS.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use eventstore::{ConnectOptions, SessionLimits};
use serde::Serialize;
use url::Url;

use super::{Secret, ServerUrl, Span};

/// Longest limit of a session; Postgres accepts up to 24 days.
const MAX_LIMIT: Duration = Duration::from_hours(24);

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
    /// Longest time of a statement, with a unit; 0s: no limit. Rebuilds, verification and
    /// migrations have none
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub database_statement_timeout: Span,
    /// Longest wait for a lock, such as that of the log's head, with a unit; must be longer than
    /// --database-idle-in-transaction-timeout; 0s: no limit
    #[arg(long, env = "DATABASE_LOCK_TIMEOUT", value_name = "TIME", default_value = "3s")]
    pub database_lock_timeout: Span,
    /// Time after which Postgres ends a session that is idle inside a transaction, with a unit: how
    /// long a process that stops inside a batch stops all others; 0s: no limit
    #[arg(
        long,
        env = "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT",
        value_name = "TIME",
        default_value = "2s"
    )]
    pub database_idle_in_transaction_timeout: Span,
    /// Time after which Postgres closes a connection whose other end does not answer, with a unit;
    /// 0s: the default of the system
    #[arg(long, env = "DATABASE_TCP_TIMEOUT", value_name = "TIME", default_value = "10s")]
    pub database_tcp_timeout: Span,
    /// Interval at which a running statement checks that its client is still connected, with a unit;
    /// 0s: never
    #[arg(long, env = "DATABASE_CLIENT_CHECK_INTERVAL", value_name = "TIME", default_value = "1s")]
    pub database_client_check_interval: Span,
    /// Difference between clocks that is reported, and largest leap forward of the clock of Postgres
    /// that is followed at once, with a unit
    #[arg(long, env = "CLOCK_TOLERANCE", value_name = "TIME", default_value = "5s")]
    pub clock_tolerance: Span,
}

impl Database {
    /// Returns the options of a connection.
    pub fn options(&self) -> Result<ConnectOptions, sqlx::Error> {
        let limits = SessionLimits {
            statement: self.database_statement_timeout.0,
            lock: self.database_lock_timeout.0,
            idle_in_transaction: self.database_idle_in_transaction_timeout.0,
            tcp: self.database_tcp_timeout.0,
            client_check: self.database_client_check_interval.0,
        };
        Ok(ConnectOptions::new(self.database_url.expose().parse()?, limits))
    }

    /// Returns the options of a connection to another server of the same database, such as a standby.
    pub fn options_at(&self, url: &ServerUrl) -> Result<ConnectOptions, sqlx::Error> {
        Ok(ConnectOptions::new(url.expose().parse()?, self.options()?.limits()))
    }

    /// Returns one message for each value that is out of bounds.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(error) = self.options() {
            mistakes.push(format!("--database-url: {error}"));
        }
        for (name, span) in [
            ("--database-statement-timeout", self.database_statement_timeout),
            ("--database-lock-timeout", self.database_lock_timeout),
            ("--database-idle-in-transaction-timeout", self.database_idle_in_transaction_timeout),
            ("--database-tcp-timeout", self.database_tcp_timeout),
            ("--database-client-check-interval", self.database_client_check_interval),
        ] {
            if span.0 > MAX_LIMIT {
                mistakes.push(format!("{name} must not be longer than 1 day"));
            }
        }
        let lock = self.database_lock_timeout.0;
        if !lock.is_zero() && lock <= self.database_idle_in_transaction_timeout.0 {
            let rule = "must be longer than --database-idle-in-transaction-timeout";
            mistakes.push(format!("--database-lock-timeout {rule}"));
        }
        mistakes
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
