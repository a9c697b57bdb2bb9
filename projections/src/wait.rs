//! Waiting until a projection has applied a position of the log, so that a caller reads its own
//! writes.
//!
//! One task per process polls the checkpoints, and only while a caller waits. A projection that
//! runs in this process wakes its waiters without the poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventsourcing::Position;
use eventstore::{LogReader, Tasks, Unavailable};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Progress;

/// Time between two polls of the checkpoints.
const POLL: Duration = Duration::from_millis(5);
/// Time between two polls after one that failed.
const POLL_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Waits for projections; clones share one poll.
#[derive(Debug, Clone)]
pub struct Waiter(Arc<Shared>);

/// Why [`Waiter::at_least`] returned without the position.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The log has not assigned the position yet.
    #[error("the log ends at {head}")]
    BeyondHead {
        /// Position of the last event.
        head: Position,
    },
    /// The projection did not apply the position in time.
    #[error("the projection is at {position}")]
    Behind {
        /// Checkpoint of the projection.
        position: Position,
    },
    /// The checkpoint or the head cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Debug)]
struct Shared {
    /// Where the head of the log is read.
    log: LogReader,
    /// Where the read models are queried.
    read_models: LogReader,
    progress: Progress,
    polled: watch::Sender<HashMap<String, Position>>,
    /// Callers that wait now. The poll rests while there are none.
    waiting: AtomicUsize,
    wake_poll: Notify,
    /// Ends every wait, so that callers get an answer before the process ends.
    shutdown: CancellationToken,
}

/// Counts one waiting caller for as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        shared.wake_poll.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Waiter {
    /// Starts the poll on `tasks`; it runs until `shutdown`. `progress` is that of the projections of
    /// this process.
    pub fn start(
        log: LogReader,
        progress: Progress,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        Self::start_on(log.clone(), log, progress, tasks, shutdown)
    }

    /// The same for read models that are queried on a standby: waits until the standby has them.
    pub fn start_on_standby(
        log: LogReader,
        standby: LogReader,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        // The projections of this process say what the primary has.
        Self::start_on(log, standby, Progress::default(), tasks, shutdown)
    }

    fn start_on(
        log: LogReader,
        read_models: LogReader,
        progress: Progress,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            log,
            read_models,
            progress,
            polled: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
            wake_poll: Notify::new(),
            shutdown: shutdown.clone(),
        });
        let polling = Arc::clone(&shared);
        tasks.spawn("checkpoint poll", async move {
            shutdown.run_until_cancelled(polling.poll()).await
        });
        Self(shared)
    }

    /// Waits until `projection` has applied `least`, for at most `patience`, and returns its
    /// checkpoint.
    pub async fn at_least(
        &self,
        projection: &str,
        least: Position,
        patience: Duration,
    ) -> Result<Position, WaitError> {
        if !self.has_applied(projection, least) {
            let head = self.0.log.head().await?;
            if least > head {
                return Err(WaitError::BeyondHead { head });
            }
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.until(projection, least, left).await;
            let position = self.position(projection).await?;
            if position >= least {
                return Ok(position);
            }
            if Instant::now() >= deadline || self.0.shutdown.is_cancelled() {
                return Err(WaitError::Behind { position });
            }
            // The projection had applied it, and a crash of Postgres, a failover or another standby
            // took that back: commits of read models do not wait for the disk.
            sleep(POLL).await;
        }
    }

    /// The checkpoint of `projection`.
    pub async fn position(&self, projection: &str) -> Result<Position, Unavailable> {
        let checkpoints = self.0.read_models.checkpoints().await?;
        let own = checkpoints.iter().find(|checkpoint| checkpoint.consumer == projection);
        Ok(own.map_or(Position::START, |checkpoint| checkpoint.position))
    }

    /// After a command: waits until `projection` has applied `position`, for at most `patience`.
    /// A timeout is not an error, because the command is committed either way.
    pub async fn command(
        &self,
        projection: &'static str,
        position: Position,
        patience: Option<Duration>,
    ) {
        if let Some(patience) = patience
            && !self.until(projection, position, patience).await
        {
            tracing::debug!(projection, %position, "projection still behind after the wait");
        }
    }

    /// Whether `projection` is known to have applied `least`.
    fn has_applied(&self, projection: &str, least: Position) -> bool {
        let Self(shared) = self;
        let here = shared.progress.of(projection).is_some_and(|here| *here.borrow() >= least);
        here || shared.polled.borrow().get(projection).is_some_and(|position| *position >= least)
    }

    /// Waits until `projection` has applied `least`; false if it has not in time.
    async fn until(&self, projection: &str, least: Position, patience: Duration) -> bool {
        let Self(shared) = self;
        let Some(mut here) = shared.progress.of(projection) else {
            return false;
        };
        let mut polled = shared.polled.subscribe();
        let applied = |positions: &HashMap<String, Position>| {
            positions.get(projection).is_some_and(|position| *position >= least)
        };
        if self.has_applied(projection, least) {
            return true;
        }
        let _waiting = Waiting::new(shared);
        let arrived = async {
            tokio::select! {
                seen = here.wait_for(|position| *position >= least) => seen.is_ok(),
                seen = polled.wait_for(applied) => seen.is_ok(),
                () = shared.shutdown.cancelled() => false,
            }
        };
        tokio::time::timeout(patience, arrived).await.unwrap_or(false)
    }
}

impl Shared {
    async fn poll(&self) {
        loop {
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.wake_poll.notified().await;
                continue;
            }
            let pause = match self.read_models.checkpoints().await {
                Ok(checkpoints) => {
                    let positions = checkpoints
                        .into_iter()
                        .map(|checkpoint| (checkpoint.consumer, checkpoint.position));
                    self.polled.send_replace(positions.collect());
                    POLL
                }
                Err(error) => {
                    tracing::debug!(%error, "checkpoints could not be read, retrying");
                    POLL_AFTER_ERROR
                }
            };
            sleep(pause).await;
        }
    }
}
