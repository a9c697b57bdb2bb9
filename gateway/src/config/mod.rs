//! Configuration: one struct for each thing we depend on, read from flags and the environment and
//! from nowhere else. The comments on the fields are what `--help` says.

mod check;
mod mqtt;
mod presence;
mod process_role;
mod values;

pub use check::{Mistakes, parse};
pub use domain::Span;
pub use mqtt::{Broker, Mqtt};
pub use presence::Presence;
pub use process_role::ProcessRole;
pub use values::{InvalidUrl, MqttVersion, REDACTED, Secret, ServerUrl, UnsafeSecret};

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use domain::works::RetryPolicy;
use serde::Serialize;

/// Everything the roles need to know.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Config {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub bus: Bus,
    #[command(flatten)]
    pub mqtt: Mqtt,
    #[command(flatten)]
    pub http: Http,
    #[command(flatten)]
    pub tokens: Tokens,
    #[command(flatten)]
    pub orders: Orders,
    #[command(flatten)]
    pub worker: Worker,
    #[command(flatten)]
    pub presence: Presence,
}

/// The log and the read models.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct Database {
    /// The database, as the application's role, which may add to the log and read it
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: ServerUrl,
    /// Connections this process opens at most, besides the one that appends
    #[arg(long, env = "DATABASE_CONNECTIONS", value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(2..=500))]
    pub database_connections: u32,
}

/// The database as its owner, for migrations alone.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Postgres")]
pub struct Admin {
    /// The database, as the role that owns it and may change its schema
    #[arg(long, env = "DATABASE_ADMIN_URL", value_name = "URL", hide_env_values = true)]
    pub database_admin_url: ServerUrl,
}

/// The bus. It may be away: everything but the intake of works goes on without it.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "NATS")]
pub struct Bus {
    /// NATS with `JetStream`; several servers of one cluster are separated by commas
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: ServerUrl,
}

/// The HTTP server.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "HTTP")]
pub struct Http {
    /// Address to listen on
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Largest request body, in bytes
    #[arg(long, env = "HTTP_BODY_LIMIT", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=8 * 1024 * 1024))]
    pub http_body_limit: u32,
    /// A request that takes longer is answered with 503; streams are not limited
    #[arg(long, env = "HTTP_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub http_timeout: Span,
}

impl Http {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }
}

/// Bearer tokens.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Tokens")]
pub struct Tokens {
    /// Private key that signs tokens: Ed25519, PKCS#8, PEM (`openssl genpkey -algorithm ed25519`)
    #[arg(long, env = "TRIBUTARY_SIGNING_KEY_FILE", value_name = "FILE")]
    pub signing_key_file: PathBuf,
    /// How long an access token holds; that long a change of role may go unseen
    #[arg(
        long,
        env = "ACCESS_TOKEN_TTL",
        value_name = "TIME",
        default_value = "15m",
        hide_env_values = true
    )]
    pub access_token_ttl: Span,
}

/// A user's password, for the commands that need one.
#[derive(Debug, Clone, Args)]
pub struct Password {
    /// The user's password; read from stdin if it is not given
    #[arg(long, env = "TRIBUTARY_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<Secret>,
}

/// The shop.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Orders")]
pub struct Orders {
    /// How long an order may be pending before it is cancelled
    #[arg(long, env = "ORDER_TTL", value_name = "TIME", default_value = "15m")]
    pub order_ttl: Span,
}

/// Doing works.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Worker")]
pub struct Worker {
    /// Name that stands in the events of works done here
    #[arg(long, env = "WORKER_NAME", value_name = "NAME", default_value = "worker")]
    pub worker_name: String,
    /// How long a claimed work stays with this worker before another may claim it
    #[arg(long, env = "WORKER_LEASE", value_name = "TIME", default_value = "60s")]
    pub worker_lease: Span,
    /// An attempt that takes longer fails; must be shorter than the lease
    #[arg(long, env = "WORKER_TIME_LIMIT", value_name = "TIME", default_value = "30s")]
    pub worker_time_limit: Span,
    /// Attempts before a work is given up
    #[arg(long, env = "WORKER_MAX_ATTEMPTS", value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub worker_max_attempts: u32,
    /// Wait after the first failed attempt; doubles with each further one
    #[arg(long, env = "WORKER_BACKOFF", value_name = "TIME", default_value = "1s")]
    pub worker_backoff: Span,
    /// Works done at once; most of the time of a small one is waiting for commits
    #[arg(long, env = "WORKER_CONCURRENCY", value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub worker_concurrency: u16,
}

impl Worker {
    /// How the write side wants to know it.
    pub fn options(&self) -> commands::works::Options {
        commands::works::Options {
            name: self.worker_name.clone(),
            lease: self.worker_lease.0,
            time_limit: self.worker_time_limit.0,
            retry: RetryPolicy {
                max_attempts: self.worker_max_attempts,
                backoff: self.worker_backoff.0,
            },
        }
    }
}

/// What is written to stderr while the process runs.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// What is logged: a level, or `target=level` pairs separated by commas
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG",
        value_name = "FILTER",
        default_value = "info,async_nats=warn,sqlx=warn"
    )]
    pub log: String,
    /// How it is written
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// Write without colours, as they do who set `NO_COLOR`
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        value_name = "ANYTHING",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        hide_env_values = true
    )]
    pub no_color: Option<String>,
}

/// Spans for whoever collects traces.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Traces")]
pub struct Traces {
    /// Export spans to this `OpenTelemetry` collector, by OTLP over HTTP; none if not given
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL",
          hide_env_values = true, value_parser = plain_http)]
    pub otlp_endpoint: Option<ServerUrl>,
    /// What this process calls itself there
    #[arg(
        long,
        global = true,
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME",
        default_value = "tributary"
    )]
    pub otel_service_name: String,
}

/// The address of a server that is spoken to without TLS.
fn plain_http(text: &str) -> Result<ServerUrl, String> {
    if text.starts_with("http://") {
        text.parse().map_err(|error: InvalidUrl| error.to_string())
    } else {
        Err("it begins with http://; a collector beside this process speaks TLS to others".into())
    }
}

/// The forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// A server of ours that the command line talks to.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Server")]
pub struct Server {
    /// The API's address
    #[arg(
        long,
        env = "TRIBUTARY_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "http://localhost:8080"
    )]
    pub url: ServerUrl,
    /// A bearer token, as `tributary token` prints it
    #[arg(long, env = "TRIBUTARY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Secret,
}

/// A command line of nothing but options.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// Everything as it is by default, on these servers and whatever free port there is. The
    /// environment has no say: for `tributary dev`, and for tests.
    pub fn private(
        database_url: &str,
        nats_url: &str,
        mqtt_url: &str,
        signing_key_file: &Path,
    ) -> anyhow::Result<Self> {
        let command = Alone::command().mut_args(|arg| arg.env(Resettable::Reset));
        let options = [
            ("--database-url", database_url),
            ("--nats-url", nats_url),
            ("--mqtt-url", mqtt_url),
            ("--signing-key-file", signing_key_file.to_str().context("the key's path")?),
            ("--port", "0"),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name, value]);
        let args = ["tributary"].into_iter().chain(options).chain(["--mqtt-allow-anonymous"]);
        let matches = command.try_get_matches_from(args)?;
        Ok(Alone::from_arg_matches(&matches)?.config)
    }

    /// What each option for itself cannot tell: everything that does not fit together, or not with
    /// the roles that are to be played.
    pub fn mistakes(&self, roles: &[ProcessRole]) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(error) = self.database.options() {
            mistakes.push(format!("--database-url: {error}"));
        }
        let worker = &self.worker;
        if worker.worker_time_limit >= worker.worker_lease {
            mistakes.push("--worker-time-limit must be shorter than --worker-lease".into());
        }
        for (name, span) in [
            ("--worker-time-limit", worker.worker_time_limit),
            ("--http-timeout", self.http.http_timeout),
        ] {
            if span.0 == Duration::ZERO {
                mistakes.push(format!("{name} must be longer than nothing"));
            }
        }
        mistakes.extend(self.presence.mistakes());
        let broker = &self.mqtt.broker;
        mistakes.extend(self.mqtt.mistakes());
        let anonymous = broker.mqtt_username.is_none() && !broker.mqtt_url.names_user();
        if roles.contains(&ProcessRole::Mqtt) && anonymous && !self.mqtt.mqtt_allow_anonymous {
            let message = "the bridge has no --mqtt-username and --mqtt-password; a broker that \
                           lets anybody in needs --mqtt-allow-anonymous";
            mistakes.push(message.into());
        }
        mistakes
    }
}

impl Database {
    /// How to connect.
    pub fn options(&self) -> Result<sqlx::postgres::PgConnectOptions, sqlx::Error> {
        self.database_url.expose().parse()
    }

    /// The password in the address, if there is one.
    pub fn password(&self) -> anyhow::Result<Option<String>> {
        let url = url::Url::parse(self.database_url.expose())?;
        let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8();
        Ok(url.password().map(decode).transpose()?.map(String::from))
    }
}
