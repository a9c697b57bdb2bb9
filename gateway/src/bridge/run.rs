//! The bridge: connects, serves the connection, and reconnects, for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use commands::readings::Repetitions;
use eventstore::EventStore;
use mqtt::{ConnectionError, Dialer, Options};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accounting::{Accounting, State};
use super::decoder::Decoder;
use super::error::Error;
use super::ingest;
use super::session::{self, Intake};
use crate::backpressure::Backpressure;

/// Most bytes of messages in flight, over all connections and `QoS` levels together.
pub const HELD_BYTES: usize = 64 * 1024 * 1024;

/// Messages between the reader and the appends. Small: they wait elsewhere.
const HANDOVER: usize = 512;
/// Time to commit what was taken, from the shutdown on. Processes are given ten seconds.
const GRACE: Duration = Duration::from_secs(8);

/// Brings the messages of one broker into the log.
pub struct Bridge {
    dialer: Dialer,
    intake: Intake,
    shutdown: CancellationToken,
}

impl Bridge {
    /// Runs until `shutdown`, then finishes what it has taken. Fails at the start or never: only
    /// invalid options are an error.
    ///
    /// Shut the store down after the bridge, or what was taken cannot be committed.
    pub async fn run(
        options: Options,
        decoder: Decoder,
        store: EventStore,
        accounting: Arc<Accounting>,
        backpressure: Backpressure,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        if options.topic_filters.is_empty() {
            return Err(Error::NoTopicFilter);
        }
        let dialer = Dialer::new(options).await?;
        let (taken, incoming) = mpsc::channel(HANDOVER);
        #[expect(clippy::disallowed_methods, reason = "awaited below: a panic ends the role")]
        let appends = AbortOnDropHandle::new(TaskTracker::new().spawn({
            let accounting = Arc::clone(&accounting);
            async move {
                let repetitions = Repetitions::new(store.clone(), decoder.limits.restart_silence);
                ingest::run(&store, &repetitions, &decoder, &accounting, incoming).await;
            }
        }));
        let mut bridge = Self {
            dialer,
            intake: Intake {
                taken,
                held: Arc::new(Semaphore::new(HELD_BYTES)),
                accounting: Arc::clone(&accounting),
                backpressure,
            },
            shutdown: shutdown.clone(),
        };
        let finished = async {
            bridge.serve().await;
            drop(bridge); // The last sender: the appends end when all are settled.
            appends.await
        };
        let grace = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = finished => ended.map_err(Error::Panicked)?,
            () = grace => {
                let in_flight = accounting.snapshot().in_flight;
                tracing::warn!(in_flight, "bridge stopped with uncommitted messages");
            }
        }
        accounting.state(State::Stopped);
        Ok(())
    }

    /// Serves one connection after the other, until the shutdown.
    async fn serve(&mut self) {
        let accounting = Arc::clone(&self.intake.accounting);
        while !self.shutdown.is_cancelled() {
            accounting.state(State::Connecting);
            let started = Instant::now();
            let Err(error) = self.connection().await else {
                return;
            };
            accounting.lost(&error);
            let delay = self.dialer.wait(&error, started.elapsed());
            self.shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
        }
    }

    /// Connects and serves the connection. Returns `Ok` at the shutdown only.
    async fn connection(&self) -> Result<(), ConnectionError> {
        match self.shutdown.run_until_cancelled(self.dialer.connect()).await {
            Some(client) => session::run(client?, self.intake.clone(), &self.shutdown).await,
            None => Ok(()),
        }
    }
}
