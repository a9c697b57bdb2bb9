//! The agent: samples the host it runs on and publishes the samples over MQTT, whether the broker is
//! reachable or not. It also echoes messages on `test/topic` to `test/topic/echo`, so that a
//! connection can be tested from either end.
//!
//! A sample stays in the outbox until the broker has acknowledged it, and is published again after a
//! reconnect, oldest first; a duplicate is recorded once. Messages to be echoed are not kept beyond
//! their connection.

mod echo_queue;
mod echo;
mod outbox;
mod session;

use std::time::Duration;

use chrono::Utc;
use domain::host::HostName;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use gateway::host_metrics::Reader;
use mqtt::{ConnectionError, Dialer, Options, OptionsError};
use outbox::Outbox;
use session::Work;

/// Messages received and not yet echoed, at most.
const RECEIVE_MAXIMUM: u16 = 64;
/// Messages published and not yet acknowledged, at most.
const PUBLISH_WINDOW: u16 = 64;
/// Longest topic and properties of a packet in addition to its payload, in bytes.
const AROUND_PAYLOAD: u32 = 1024;

/// The settings of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Name of this host.
    pub(crate) host: HostName,
    /// Time between two samples.
    pub(crate) every: Duration,
    /// Whether to publish a message on `test/topic` with every connection, which other agents echo.
    /// For testing.
    pub(crate) hello: bool,
}

impl Settings {
    /// Client id of the agent.
    pub(crate) fn client_id(&self) -> String {
        format!("agent-{}", self.host)
    }
}

/// Runs until `shutdown`. Of `broker`, address, account and version are used. Fails at the start or
/// never: only invalid options are an error.
pub(crate) async fn run(
    settings: Settings,
    broker: Options,
    shutdown: CancellationToken,
) -> Result<(), OptionsError> {
    let mut dialer = Dialer::new(Options {
        client_id: settings.client_id(),
        topic_filters: vec![echo::TOPIC.to_owned()],
        // The agent does not echo its own messages.
        no_local: true,
        receive_maximum: RECEIVE_MAXIMUM,
        unacknowledged_limit: Some(u16::MAX), // The echo queue has a limit of its own, in bytes.
        publish_window: PUBLISH_WINDOW,
        // The broker need not queue messages to be echoed.
        session_expiry: Duration::ZERO,
        max_packet_bytes: u32::try_from(echo::MAX_BYTES).unwrap_or(u32::MAX) + AROUND_PAYLOAD,
        ..broker
    })
    .await?;
    let outbox = Outbox::new();
    tokio::select! {
        () = sample(&settings, &outbox) => {}
        () = publish(&settings, &mut dialer, &outbox, &shutdown) => {}
    }
    tracing::info!(unsent = outbox.count(), "agent stopped");
    Ok(())
}

/// Takes a sample at every interval; never ends.
async fn sample(settings: &Settings, outbox: &Outbox) {
    let reader = Reader::default();
    let mut ticks = interval(settings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sample = match reader.read().await {
            Ok(metrics) => metrics.sample(settings.host.clone(), Utc::now()),
            Err(error) => {
                tracing::warn!(%error, "sampling failed");
                continue;
            }
        };
        match serde_json::to_vec(&sample) {
            Ok(payload) => outbox.add(payload.into()),
            Err(error) => tracing::error!(%error, "sample not encoded as JSON"),
        }
    }
}

/// Serves one connection after the other, until the shutdown.
async fn publish(
    settings: &Settings,
    dialer: &mut Dialer,
    outbox: &Outbox,
    shutdown: &CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let Err(error) = connection(settings, dialer, outbox, shutdown).await else {
            return;
        };
        let delay = dialer.wait(&error, started.elapsed());
        shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
    }
}

/// Connects and serves the connection. Returns `Ok` at the shutdown only.
async fn connection(
    settings: &Settings,
    dialer: &Dialer,
    outbox: &Outbox,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError> {
    let Some(connected) = shutdown.run_until_cancelled(dialer.connect()).await else {
        return Ok(());
    };
    let client = connected?;
    let dropped = outbox.take_dropped();
    if dropped > 0 {
        tracing::warn!(dropped, "outbox overflowed, samples dropped");
    }
    let topic = format!("hosts/{}/metrics", settings.host);
    let hello = settings.hello.then(|| {
        json!({"client": settings.client_id(), "message": "hello", "time": Utc::now()}).to_string()
    });
    session::run(client, Work { topic: &topic, outbox, hello: hello.as_deref() }, shutdown).await
}
