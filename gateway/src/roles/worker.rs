//! Does works: looks for those that are due, and attempts as many at once as it may. What else is
//! done in the background runs beside it: demands, orders, alerts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::alerts::Watcher;
use commands::works::{Attempt, Worker};
use domain::works::Work;
use eventsourcing::Decider;
use eventstore::Filter;
use projections::works::claimable;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{fulfilment, presence};
use crate::nats::intake;
use crate::parts::Parts;

/// The projection that says which works are due.
const PROJECTION: &str = "works";
/// A look without any sign that something is due: signs can be lost.
const LOOK: Duration = Duration::from_secs(5);
/// How long a sign waits for the read model to show what it is about.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// How long a work that was attempted is left alone, until the read model shows what became of it.
const SETTLE: Duration = Duration::from_millis(200);
/// Wait after a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);
/// Events taken from the feed at once, only to see that there are some.
const SIGNS: usize = 1_000;

/// Takes demands, and does works, until `shutdown`. An attempt that is under way then fails, and
/// the work is free again after its backoff.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = parts.config.worker.options();
    let watcher = Watcher::new(parts.store.clone(), parts.feed.clone());
    let slots = usize::from(parts.config.worker.worker_concurrency);
    let works = Works {
        worker: Arc::new(Worker::new(parts.store.clone(), options)),
        slots: Arc::new(Semaphore::new(slots)),
        busy: Arc::default(),
        sign: Arc::default(),
        shutdown: shutdown.clone(),
        parts: parts.clone(),
    };
    tokio::join!(
        intake::run(&parts, &shutdown),
        fulfilment::run(&parts, &shutdown),
        watcher.run(&shutdown),
        presence::run(&parts, &shutdown),
        shutdown.run_until_cancelled(works.follow()),
        shutdown.run_until_cancelled(works.look()),
    );
    Ok(())
}

struct Works {
    parts: Parts,
    worker: Arc<Worker>,
    slots: Arc<Semaphore>,
    /// Under attempt here, or attempted just now.
    busy: Arc<Mutex<HashSet<Uuid>>>,
    /// Something may be due, or a slot is free.
    sign: Arc<Notify>,
    shutdown: CancellationToken,
}

impl Works {
    /// Gives a sign when the log says that a work became due.
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
            match subscription.next(SIGNS).await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => {
                    let shown = Some(SHOWN_WITHIN);
                    self.parts.wait.command(PROJECTION, batch.through, shown).await;
                    self.sign.notify_one();
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Attempts what is due, whenever there is a sign, and when the next one will be due.
    async fn look(&self) {
        loop {
            let next = match self.attempt_due().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "works cannot be looked for");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let until_due = next.and_then(|next| (next - Utc::now()).to_std().ok());
            let pause = until_due.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = self.sign.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts attempts at what is due, as far as there are slots; says when the next will be due.
    async fn attempt_due(&self) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
        if self.slots.available_permits() == 0 {
            return Ok(None); // A slot that becomes free is a sign.
        }
        let busy = self.busy().len();
        let limit = i64::try_from(busy + self.slots.available_permits()).unwrap_or(i64::MAX);
        let (due, next) = claimable(self.parts.store.pool(), Utc::now(), limit).await?;
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
        Ok(next)
    }

    fn attempt(&self, id: Uuid, slot: OwnedSemaphorePermit) {
        let (worker, shutdown) = (Arc::clone(&self.worker), self.shutdown.clone());
        let (busy, sign) = (Arc::clone(&self.busy), Arc::clone(&self.sign));
        self.parts.tasks.spawn(async move {
            let outcome = match worker.attempt(id, &shutdown).await {
                Ok(Attempt::Completed) => "completed",
                Ok(Attempt::Failed) => "failed",
                Ok(Attempt::NotClaimed) => "not_ours",
                Err(error) => {
                    tracing::warn!(%id, %error, "an attempt at a work was cut short");
                    "interrupted"
                }
            };
            metrics::counter!("tributary_works_attempts_total", "outcome" => outcome).increment(1);
            drop(slot);
            sign.notify_one();
            shutdown.run_until_cancelled(tokio::time::sleep(SETTLE)).await;
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            sign.notify_one();
        });
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
