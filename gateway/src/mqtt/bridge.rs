//! The bridge itself: connect, serve, and connect again, for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use eventstore::EventStore;
use rumqttc::tokio_rustls::TlsConnector;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accounting::{Accounting, State};
use super::backoff::Backoff;
use super::connection::{self, Lost};
use super::options::{Broker, Error, Options};
use super::session::{self, Intake};
use super::{acks, tls};

/// Most bytes held by messages on their way, all connections and qualities of service together.
pub const HELD_BYTES: usize = 64 * 1024 * 1024;

/// Messages between the reader and the appends. Small: the waiting is done elsewhere.
const HANDOVER: usize = 512;
/// Waits between connections while the broker is not reachable.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Waits between connections while the broker does not want us.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// A connection that lasted so long was a good one: the next failure is a new one.
const LASTED: Duration = Duration::from_secs(10);
/// How long what was taken has to be committed after the shutdown began. Processes are given ten
/// seconds.
const GRACE: Duration = Duration::from_secs(8);

/// Messages from one broker into the log.
pub struct Bridge {
    options: Options,
    broker: Broker,
    tls: Option<TlsConnector>,
    intake: Intake,
    shutdown: CancellationToken,
}

impl Bridge {
    /// Runs until `shutdown`, then finishes what it has taken. Fails at the start or never: only
    /// settings that make no sense are an error.
    ///
    /// Shut the store down after the bridge, or what was taken cannot be committed.
    pub async fn run(
        options: Options,
        store: EventStore,
        accounting: Arc<Accounting>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let broker = options.check()?;
        let tls =
            if broker.tls { Some(tls::connector(options.ca_file.as_deref()).await?) } else { None };
        let (taken, incoming) = mpsc::channel(HANDOVER);
        let appends = AbortOnDropHandle::new(TaskTracker::new().spawn({
            let accounting = Arc::clone(&accounting);
            async move { acks::run(&store, &accounting, incoming).await }
        }));
        let bridge = Self {
            options,
            broker,
            tls,
            intake: Intake {
                taken,
                held: Arc::new(Semaphore::new(HELD_BYTES)),
                accounting: Arc::clone(&accounting),
            },
            shutdown: shutdown.clone(),
        };
        let finished = async {
            bridge.serve().await;
            drop(bridge); // Nobody takes any more: the appends end when all are settled.
            appends.await
        };
        let patience = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = finished => ended.map_err(Error::Panicked)?,
            () = patience => {
                let left = accounting.snapshot().in_flight;
                tracing::warn!(left, "stopped before the log had taken everything");
            }
        }
        accounting.state(State::Stopped);
        Ok(())
    }

    /// One connection after the other, until the shutdown.
    async fn serve(&self) {
        let accounting = &self.intake.accounting;
        let mut unreachable = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut refused = Backoff::new(REFUSED.0, REFUSED.1);
        while !self.shutdown.is_cancelled() {
            accounting.state(State::Connecting);
            let started = Instant::now();
            let Err(lost) = self.connection().await else {
                return;
            };
            if started.elapsed() > LASTED {
                unreachable.reset();
                refused.reset();
            }
            let wait = if lost.is_refusal() {
                tracing::error!(broker = %self.broker, client_id = %self.options.client_id,
                    reason = %lost, "the MQTT broker does not want us");
                accounting.state(State::Refused);
                refused.next()
            } else {
                tracing::warn!(broker = %self.broker, reason = %lost, "no connection to the MQTT broker");
                accounting.state(State::Unreachable);
                unreachable.next()
            };
            self.shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// Connects and serves the connection. Ends well only by the shutdown.
    async fn connection(&self) -> Result<(), Lost> {
        let connecting = connection::connect(&self.options, &self.broker, self.tls.as_ref());
        let Some(connected) = self.shutdown.run_until_cancelled(connecting).await else {
            return Ok(());
        };
        let connection = connected?;
        tracing::info!(broker = %self.broker, client_id = %self.options.client_id,
            resumed = connection.resumed, "connected to the MQTT broker");
        session::run(
            connection,
            self.options.topic_filters.clone().into(),
            self.options.receive_maximum,
            self.intake.clone(),
            &self.shutdown,
        )
        .await
    }
}
