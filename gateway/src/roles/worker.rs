//! Attempts works that are due, as many at once as configured; and runs all other background work:
//! demands over NATS, orders, alerts, presence.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commands::alerts::Watcher;
use commands::works::{Attempt, Worker};
use domain::works::Work;
use eventsourcing::Decider;
use eventstore::{ErrorChain, Filter, Unavailable, caught};
use projections::works::claimable;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{fulfilment, presence};
use crate::nats::intake;
use crate::parts::Parts;

/// The projection whose read model lists the works that are due.
const PROJECTION: &str = "works";
/// Longest time between two searches for works that are due: a wake-up can be lost.
const SEARCH_EVERY: Duration = Duration::from_secs(5);
/// How long a wake-up waits for the read model to show the event.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// How long a work is not attempted again, until the read model shows the outcome.
const SETTLE: Duration = Duration::from_millis(200);
/// Wait after a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);
/// Most events of one wake-up.
const WAKE_UP_EVENTS: usize = 1_000;

/// Runs until `shutdown`. An attempt that is under way then fails, and another worker may claim the
/// work after its backoff.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = parts.config.worker.options();
    let watcher = Watcher::new(parts.store.clone(), parts.feed.clone());
    let slots = usize::from(parts.config.worker.worker_concurrency);
    let works = Works {
        worker: Arc::new(Worker::new(parts.store.clone(), options)),
        slots: Arc::new(Semaphore::new(slots)),
        busy: Arc::default(),
        wake_up: Arc::default(),
        shutdown: shutdown.clone(),
        parts: parts.clone(),
    };
    tokio::join!(
        intake::run(&parts, &shutdown),
        fulfilment::run(&parts, &shutdown),
        watcher.run(&shutdown),
        presence::run(&parts, &shutdown),
        shutdown.run_until_cancelled(works.follow()),
        shutdown.run_until_cancelled(works.search()),
    );
    Ok(())
}

struct Works {
    parts: Parts,
    worker: Arc<Worker>,
    slots: Arc<Semaphore>,
    /// Works attempted by this process now or in the last 200 ms.
    busy: Arc<Mutex<HashSet<Uuid>>>,
    /// Notified when a work may be due or a slot is free.
    wake_up: Arc<Notify>,
    shutdown: CancellationToken,
}

impl Works {
    /// Follows the log, and wakes up the search when a work becomes due.
    async fn follow(&self) {
        let after = loop {
            match self.parts.store.head().await {
                Ok(head) => break head,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let filter = Filter {
            event_types: ["work_demanded", "work_failed"].map(str::to_owned).into(),
            ..Filter::categories(&[Work::CATEGORY])
        };
        let mut subscription = self.parts.feed.subscribe(after, filter);
        loop {
            match subscription.next(WAKE_UP_EVENTS).await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => {
                    let shown = Some(SHOWN_WITHIN);
                    self.parts.wait.command(PROJECTION, batch.through, shown).await;
                    self.wake_up.notify_one();
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Attempts works that are due: at each wake-up, when the next one becomes due, and every 5 s.
    async fn search(&self) {
        loop {
            let until_due = match self.attempt_due().await {
                Ok(until_due) => until_due,
                Err(error) => {
                    let error = ErrorChain(&error).to_string(); // The monitor logs the outage.
                    tracing::debug!(error, "search for due works failed, retrying");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let pause = until_due.unwrap_or(SEARCH_EVERY).min(SEARCH_EVERY);
            tokio::select! {
                () = self.wake_up.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts attempts at works that are due while there are slots. Returns the time until the next
    /// is due.
    async fn attempt_due(&self) -> Result<Option<Duration>, Unavailable> {
        if self.slots.available_permits() == 0 {
            return Ok(None); // A slot that becomes free wakes it up.
        }
        let busy = self.busy().len();
        let limit = i64::try_from(busy + self.slots.available_permits()).unwrap_or(i64::MAX);
        let now = self.parts.store.now().await?;
        let (due, next) = claimable(self.parts.store.pool(), now, limit).await?;
        for id in due {
            if self.busy().contains(&id) {
                continue;
            }
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                break;
            };
            self.busy().insert(id);
            self.attempt(id, slot);
        }
        Ok(next.and_then(|next| (next - now).to_std().ok()))
    }

    fn attempt(&self, id: Uuid, slot: OwnedSemaphorePermit) {
        let (worker, shutdown) = (Arc::clone(&self.worker), self.shutdown.clone());
        let (busy, wake_up) = (Arc::clone(&self.busy), Arc::clone(&self.wake_up));
        self.parts.tasks.spawn("attempt at a work", async move {
            let outcome = match caught(worker.attempt(id, &shutdown)).await {
                Ok(Ok(Attempt::Completed)) => "completed",
                Ok(Ok(Attempt::Failed)) => "failed",
                Ok(Ok(Attempt::NotClaimed)) => "not_ours",
                Err(panic) => {
                    // The lease of the work expires, and the next attempt is counted.
                    tracing::error!(%id, panic, "attempt at a work panicked");
                    "panicked"
                }
                Ok(Err(error)) => {
                    tracing::warn!(%id, %error, "attempt at a work failed");
                    "interrupted"
                }
            };
            metrics::counter!("tributary_works_attempts_total", "outcome" => outcome).increment(1);
            drop(slot);
            wake_up.notify_one();
            shutdown.run_until_cancelled(tokio::time::sleep(SETTLE)).await;
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            wake_up.notify_one();
        });
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
