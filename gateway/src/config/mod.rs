//! Configuration: one struct per dependency, read from options and environment variables only. The
//! doc comments of the fields are the texts of `--help`.

mod alerts;
mod client_limits;
mod cors;
mod database;
mod read_database;
mod event_tickets;
mod http;
mod intake;
mod logging;
mod mqtt;
mod nats;
mod presence;
mod process_role;
mod streams;
mod readings;
mod secret_files;
mod telemetry;
mod tls;
mod values;
mod worker;
#[cfg(test)]
mod tests;

pub use alerts::Alerts;
pub use client_limits::{ClientLimits, Network};
pub use cors::{Cors, InvalidOrigin, Origin};
pub use database::{Admin, Database};
pub use domain::Span;
pub use event_tickets::EventTickets;
pub use http::{Http, Tokens};
pub use intake::Intake;
pub use logging::{Log, LogFormat, Traces};
pub use mqtt::{Broker, Mqtt, MqttVersion, TopicMappings};
pub use nats::Bus;
pub use presence::Presence;
pub use process_role::ProcessRole;
pub use read_database::ReadDatabase;
pub use readings::Readings;
pub use secret_files::{SecretFiles, secret_files};
pub use streams::Streams;
pub use telemetry::Telemetry;
pub use values::{InvalidUrl, REDACTED, Secret, SecretParser, ServerUrl, UnsafeSecret};
pub use worker::{Orders, Worker};

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use serde::Serialize;

/// Returns where a test injects a panic into this process: `TRIBUTARY_INJECT_PANIC`, as described at
/// [`eventstore::fault::inject`]. Debug builds only.
#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "not an option of operators")]
pub(crate) fn injected_panic() -> Option<String> {
    std::env::var("TRIBUTARY_INJECT_PANIC").ok()
}

/// The configuration of the roles.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Config {
    /// The log and the read models.
    #[command(flatten)]
    pub database: Database,
    /// A standby that answers queries.
    #[command(flatten)]
    pub read_database: ReadDatabase,
    /// NATS.
    #[command(flatten)]
    pub bus: Bus,
    /// The streams of NATS.
    #[command(flatten)]
    pub streams: Streams,
    /// The MQTT bridge.
    #[command(flatten)]
    pub mqtt: Mqtt,
    /// The HTTP server.
    #[command(flatten)]
    pub http: Http,
    /// Limits on clients of the HTTP API.
    #[command(flatten)]
    pub client_limits: ClientLimits,
    /// Cross-origin resource sharing.
    #[command(flatten)]
    pub cors: Cors,
    /// Tickets for event streams.
    #[command(flatten)]
    pub event_tickets: EventTickets,
    /// Bearer tokens.
    #[command(flatten)]
    pub tokens: Tokens,
    /// Orders.
    #[command(flatten)]
    pub orders: Orders,
    /// The worker.
    #[command(flatten)]
    pub worker: Worker,
    /// Presence of devices.
    #[command(flatten)]
    pub presence: Presence,
    /// Alerts.
    #[command(flatten)]
    pub alerts: Alerts,
    /// The limit on lag.
    #[command(flatten)]
    pub intake: Intake,
    /// Limits on readings.
    #[command(flatten)]
    pub readings: Readings,
    /// The read model of telemetry.
    #[command(flatten)]
    pub telemetry: Telemetry,
}

/// A command line that consists of options only.
#[derive(Debug, Parser)]
struct OptionsOnly {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// Returns the default configuration for these servers, with HTTP on a free port, and without
    /// effective limits on the clients of this machine. Ignores the environment: for `tributary
    /// dev`, and for tests.
    pub fn private(
        database_url: &str,
        nats_url: &str,
        mqtt_url: &str,
        signing_key_file: &Path,
    ) -> anyhow::Result<Self> {
        let command = OptionsOnly::command().mut_args(|arg| arg.env(Resettable::Reset));
        let key = signing_key_file.to_str().context("the path of the signing key is not UTF-8")?;
        let options = [
            ("--database-url", database_url),
            ("--nats-url", nats_url),
            ("--mqtt-url", mqtt_url),
            ("--signing-key-file", key),
            ("--port", "0"),
            ("--rate-limit-address", "1000000"),
            ("--rate-limit-registrations", "1000000"),
            ("--rate-limit-sign-ins-address", "1000000"),
            ("--rate-limit-sign-ins-account", "1000000"),
            ("--rate-limit-page-views", "10000000"),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name, value]);
        let args = ["tributary"].into_iter().chain(options).chain(["--mqtt-allow-anonymous"]);
        let matches = command.try_get_matches_from(args)?;
        Ok(OptionsOnly::from_arg_matches(&matches)?.config)
    }

    /// Returns one message for each value that is valid by itself, but not together with others or
    /// for `roles`.
    pub fn mistakes(&self, roles: &[ProcessRole]) -> Vec<String> {
        let mut mistakes = self.database.mistakes();
        let worker = &self.worker;
        if worker.worker_time_limit >= worker.worker_lease {
            mistakes.push("--worker-time-limit must be shorter than --worker-lease".into());
        }
        for (name, span) in [
            ("--worker-time-limit", worker.worker_time_limit),
            ("--http-timeout", self.http.http_timeout),
            ("--http-header-timeout", self.http.http_header_timeout),
        ] {
            if span.0 == Duration::ZERO {
                mistakes.push(format!("{name} must be longer than 0"));
            }
        }
        mistakes.extend(self.read_database.mistake(&self.database));
        mistakes.extend(self.event_tickets.mistakes());
        mistakes.extend(self.bus.mistakes());
        mistakes.extend(self.tokens.mistakes());
        mistakes.extend(self.presence.mistakes());
        mistakes.extend(self.readings.mistakes());
        mistakes.extend(self.telemetry.mistakes());
        mistakes.extend(self.mqtt.mistakes());
        if roles.contains(&ProcessRole::Http) && self.tokens.signing_key_file.is_none() {
            mistakes.push("the role http needs --signing-key-file".into());
        }
        let broker = &self.mqtt.broker;
        let anonymous = broker.mqtt_username.is_none() && !broker.mqtt_url.names_user();
        if roles.contains(&ProcessRole::Mqtt) && anonymous && !self.mqtt.mqtt_allow_anonymous {
            let message = "the bridge has no --mqtt-username and --mqtt-password; set them, or \
                           --mqtt-allow-anonymous for a broker without accounts";
            mistakes.push(message.into());
        }
        mistakes
    }
}
