//! The agent: samples the host it runs on and publishes what it saw over MQTT, for as long as it
//! lives, whether there is a broker or not. It also answers on `test/topic/echo` what it hears on
//! `test/topic`, so that a line can be tried from either end.
//!
//! What the broker has not acknowledged is kept and sent again, oldest first; a sample that arrives
//! twice is recorded once. What it heard is not kept: a message to be answered is lost with its
//! connection.

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
use mqtt::{Dialer, Error, Lost, Options};
use outbox::Kept;
use session::Work;

/// Messages to be answered that the broker may have sent and we not yet acknowledged.
const RECEIVE_MAXIMUM: u16 = 64;
/// What of a packet is not its payload, at most, for one of ours: topic and properties.
const AROUND_PAYLOAD: u32 = 1024;

/// What an agent is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) host: HostName,
    /// Time between two samples.
    pub(crate) every: Duration,
    /// Whether to say something on `test/topic` with every connection. For trying things out: of
    /// several agents each answers the others.
    pub(crate) hello: bool,
}

impl Settings {
    /// Name of the agent's session on the broker.
    pub(crate) fn client_id(&self) -> String {
        format!("agent-{}", self.host)
    }
}

/// Runs until `shutdown`. `broker` says where the broker is and who we are to it; all else is ours.
/// Fails at the start or never: only settings that make no sense are an error.
pub(crate) async fn run(
    settings: Settings,
    broker: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut dialer = Dialer::new(Options {
        client_id: settings.client_id(),
        topic_filters: vec![echo::TOPIC.to_owned()],
        // Or our own hello would be answered.
        no_local: true,
        receive_maximum: RECEIVE_MAXIMUM,
        // Nothing is worth being kept for us.
        session_expiry: Duration::ZERO,
        max_packet_bytes: u32::try_from(echo::MAX_BYTES).unwrap_or(u32::MAX) + AROUND_PAYLOAD,
        ..broker
    })
    .await?;
    let kept = Kept::new();
    tokio::select! {
        () = sample(&settings, &kept) => {}
        () = publish(&settings, &mut dialer, &kept, &shutdown) => {}
    }
    tracing::info!(unsent = kept.count(), "the agent ends");
    Ok(())
}

/// Takes a sample every so often; never ends.
async fn sample(settings: &Settings, kept: &Kept) {
    let reader = Reader::default();
    let mut ticks = interval(settings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sample = match reader.read().await {
            Ok(metrics) => metrics.sample(settings.host.clone(), Utc::now()),
            Err(error) => {
                tracing::warn!(%error, "no sample is taken");
                continue;
            }
        };
        match serde_json::to_vec(&sample) {
            Ok(payload) => kept.add(payload.into()),
            Err(error) => tracing::error!(%error, "a sample cannot be written as JSON"),
        }
    }
}

/// Publishes the samples, one connection after the other, until the shutdown.
async fn publish(
    settings: &Settings,
    dialer: &mut Dialer,
    kept: &Kept,
    shutdown: &CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        let Err(lost) = connection(settings, dialer, kept, shutdown).await else {
            return;
        };
        let wait = dialer.wait(&lost, started.elapsed());
        shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

/// Connects and serves the connection. Ends well only by the shutdown.
async fn connection(
    settings: &Settings,
    dialer: &Dialer,
    kept: &Kept,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let Some(connected) = shutdown.run_until_cancelled(dialer.connect()).await else {
        return Ok(());
    };
    let connection = connected?;
    let dropped = kept.take_dropped();
    if dropped > 0 {
        tracing::warn!(dropped, "samples had to give way while there was no broker");
    }
    let topic = format!("hosts/{}/metrics", settings.host);
    let hello = settings.hello.then(|| {
        json!({"client": settings.client_id(), "message": "hello", "time": Utc::now()}).to_string()
    });
    session::run(connection, Work { topic: &topic, kept, hello: hello.as_deref() }, shutdown).await
}
