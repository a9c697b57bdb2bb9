//! `tributary agent`: samples this host and publishes what it saw over MQTT.

use std::time::Duration;

use domain::host::HostName;
use tokio_util::sync::CancellationToken;

use super::outcome::Failure;
use super::signals::Signals;
use crate::host_agent::{self, Settings};
use gateway::config::{Broker, Span};
use gateway::host_metrics;

/// Samples are not taken more often than this.
const LEAST: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of this host, in topics and in its samples; the machine's own if left out
    #[arg(long, env = "AGENT_HOST_NAME", value_name = "NAME")]
    host_name: Option<HostName>,
    /// Time between two samples
    #[arg(long, env = "AGENT_EVERY", value_name = "TIME", default_value = "10s")]
    every: Span,
    /// Publish a message on `test/topic` with every connection; other agents will answer it
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
        mistakes.push("this machine's name is not a host name; say one with --host-name".into());
    }
    if every.0 < LEAST {
        mistakes.push(format!("--every must be {} or longer", Span(LEAST)));
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
    tracing::info!("ending; once more ends at once");
    shutdown.cancel();
    let mut outcome = Ok(());
    signals.finish_or_abort(async { outcome = running.await }).await;
    outcome.map_err(|error| anyhow::Error::from(error).into())
}
