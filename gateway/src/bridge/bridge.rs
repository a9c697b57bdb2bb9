//! The bridge itself: connect, serve, and connect again, for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use eventstore::EventStore;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accounting::{Accounting, State};
use super::ingest;
use super::session::{self, Intake};
use mqtt::Dialer;
use mqtt::Lost;
use mqtt::{Error, Options};

/// Most bytes held by messages on their way, all connections and qualities of service together.
pub const HELD_BYTES: usize = 64 * 1024 * 1024;

/// Messages between the reader and the appends. Small: the waiting is done elsewhere.
const HANDOVER: usize = 512;
/// How long what was taken has to be committed after the shutdown began. Processes are given ten
/// seconds.
const GRACE: Duration = Duration::from_secs(8);

/// Messages from one broker into the log.
pub struct Bridge {
    dialer: Dialer,
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
        if options.topic_filters.is_empty() {
            return Err(Error::NoTopicFilter);
        }
        let dialer = Dialer::new(options).await?;
        let (taken, incoming) = mpsc::channel(HANDOVER);
        let appends = AbortOnDropHandle::new(TaskTracker::new().spawn({
            let accounting = Arc::clone(&accounting);
            async move { ingest::run(&store, &accounting, incoming).await }
        }));
        let mut bridge = Self {
            dialer,
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
    async fn serve(&mut self) {
        let accounting = Arc::clone(&self.intake.accounting);
        while !self.shutdown.is_cancelled() {
            accounting.state(State::Connecting);
            let started = Instant::now();
            let Err(lost) = self.connection().await else {
                return;
            };
            accounting.lost(&lost);
            let wait = self.dialer.wait(&lost, started.elapsed());
            self.shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    /// Connects and serves the connection. Ends well only by the shutdown.
    async fn connection(&self) -> Result<(), Lost> {
        let Some(connected) = self.shutdown.run_until_cancelled(self.dialer.connect()).await else {
            return Ok(());
        };
        let options = self.dialer.options();
        session::run(
            connected?,
            options.topic_filters.clone().into(),
            options.receive_maximum,
            self.intake.clone(),
            &self.shutdown,
        )
        .await
    }
}
