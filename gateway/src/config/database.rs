//! Options of Postgres: server, roles, TLS and limits of sessions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use eventstore::{ConnectOptions, SessionLimits};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::tls::TlsFiles;
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
    /// Password of the role, if the URL does not hold it
    #[arg(long, env = "DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub database_password: Option<Secret>,
    /// File with the certificates (PEM) of the CA that issued the server's certificate, trusted besides
    /// the system's. Implies `sslmode=verify-full`
    #[arg(long, env = "DATABASE_CA_FILE", value_name = "FILE")]
    pub database_ca_file: Option<PathBuf>,
    /// File with the certificate (PEM) of this client and its chain, for a server that demands one
    #[arg(long, env = "DATABASE_CERT_FILE", value_name = "FILE")]
    pub database_cert_file: Option<PathBuf>,
    /// File with the private key (PEM) of --database-cert-file
    #[arg(long, env = "DATABASE_KEY_FILE", value_name = "FILE")]
    pub database_key_file: Option<PathBuf>,
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
    /// Returns the options of a connection as the application's role. Reads the files.
    pub fn options(&self) -> anyhow::Result<ConnectOptions> {
        self.options_at("--database-url", &self.database_url)
    }

    /// Returns the options of connections to the server at `url`, which `option` holds, such as a standby
    /// of the same database.
    pub fn options_at(&self, option: &str, url: &ServerUrl) -> anyhow::Result<ConnectOptions> {
        let limits = SessionLimits {
            statement: self.database_statement_timeout.0,
            lock: self.database_lock_timeout.0,
            idle_in_transaction: self.database_idle_in_transaction_timeout.0,
            tcp: self.database_tcp_timeout.0,
            client_check: self.database_client_check_interval.0,
        };
        let server = self.server(option, url, self.database_password.as_ref())?;
        Ok(ConnectOptions::new(server, limits))
    }

    /// Returns the server at `url`, which `option` holds, with the password and the TLS options.
    fn server(
        &self,
        option: &str,
        url: &ServerUrl,
        password: Option<&Secret>,
    ) -> anyhow::Result<PgConnectOptions> {
        let parsed = url.expose().parse::<PgConnectOptions>();
        let mut server = parsed.map_err(|error| anyhow!("{option}: {error}"))?;
        if let Some(password) = password {
            let twice = url.password()?.is_some();
            ensure!(
                !twice,
                "{option} and {} both hold a password",
                option.replace("read-url", "url").replace("url", "password")
            );
            server = server.password(password.expose());
        }
        let tls = TlsFiles {
            server: "database",
            ca: self.database_ca_file.as_deref(),
            certificate: self.database_cert_file.as_deref(),
            key: self.database_key_file.as_deref(),
        };
        if let Some(ca) = tls.ca()? {
            if !url.has_parameter(&["sslmode", "ssl-mode"]) {
                server = server.ssl_mode(PgSslMode::VerifyFull);
            }
            ensure!(
                matches!(server.get_ssl_mode(), PgSslMode::VerifyFull | PgSslMode::VerifyCa),
                "--database-ca-file has no effect with the sslmode in {option}: set \
                 sslmode=verify-full, or leave it out"
            );
            server = server.ssl_root_cert_from_pem(ca);
        }
        if let Some((certificate, key)) = tls.client()? {
            server = server.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        Ok(server)
    }

    /// Returns one message for each value that is out of bounds.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(error) = self.options() {
            mistakes.push(format!("{error:#}"));
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

    /// Returns the password of the application's role, if there is one.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        match &self.database_password {
            Some(password) => Ok(Some(password.expose().to_owned())),
            None => self.database_url.password(),
        }
    }
}

/// The database as its owner, for migrations only.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct Admin {
    /// URL of the database, with the role that owns it and may change its schema
    #[arg(long, env = "DATABASE_ADMIN_URL", value_name = "URL", hide_env_values = true)]
    pub database_admin_url: ServerUrl,
    /// Password of that role, if the URL does not hold it
    #[arg(long, env = "DATABASE_ADMIN_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub database_admin_password: Option<Secret>,
}

impl Admin {
    /// Returns the options of a connection as the owner, without limits of time, to the server of
    /// `database`, whose TLS options apply.
    pub fn options(&self, database: &Database) -> anyhow::Result<ConnectOptions> {
        let password = self.database_admin_password.as_ref();
        let server = database.server("--database-admin-url", &self.database_admin_url, password)?;
        Ok(ConnectOptions::from(server).without_time_limits())
    }
}
