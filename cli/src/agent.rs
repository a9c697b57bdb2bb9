//! `tributary agent`: samples this host and publishes the samples over MQTT.

use std::time::Duration;

use domain::host::HostName;
use tokio_util::sync::CancellationToken;

use super::outcome::Failure;
use super::signals::Signals;
use crate::host_agent::{self, Settings};
use gateway::config::{Broker, Span};
use gateway::host_metrics;

/// Shortest interval between two samples.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of this host in topics and samples; without it, the machine's host name
    #[arg(long, env = "AGENT_HOST_NAME", value_name = "NAME")]
    host_name: Option<HostName>,
    /// Interval between two samples, with a unit; at least 100ms
    #[arg(long, env = "AGENT_EVERY", value_name = "TIME", default_value = "10s")]
    every: Span,
    /// Publish a message on `test/topic` after each connect; other agents answer it
    #[arg(long)]
    hello: bool,
    #[command(flatten)]
    broker: Broker,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { host_name, every, hello, broker } = args;
    let mut mistakes = Vec::from_iter(broker.mistake());
    let host = host_name.or_else(host_metrics::name);
    if host.is_none() {
        let message = "the machine's host name is not a valid name in topics; set --host-name";
        mistakes.push(message.into());
    }
    if every.0 < MIN_INTERVAL {
        mistakes.push(format!("--every must be {} or longer", Span(MIN_INTERVAL)));
    }
    let (Some(host), true) = (host, mistakes.is_empty()) else {
        return Err(Failure::usage(mistakes));
    };
    let settings = Settings { host, every: every.0, hello };
    let options = broker.options(&settings.client_id());
    let mut signals = Signals::register()?;
    let shutdown = CancellationToken::new();
    let mut running = std::pin::pin!(host_agent::run(settings, options, shutdown.clone()));
    tokio::select! {
        ended = &mut running => return ended.map_err(|error| anyhow::Error::from(error).into()),
        () = signals.next() => {}
    }
    tracing::info!("shutdown started; a further signal aborts it");
    shutdown.cancel();
    let mut outcome = Ok(());
    signals.finish_or_abort(async { outcome = running.await }).await;
    outcome.map_err(|error| anyhow::Error::from(error).into())
}
