//! The latest vitals, shared by all open consoles, and the lag of the last hour.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventstore::Latency;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use super::history::{History, LagSample};
use super::sample::Vitals;

/// Age from which vitals are not sent to a console that has just been opened: it waits for the next.
const FRESH: Duration = Duration::from_secs(1);

/// The latest vitals as JSON, and the lag of the last hour. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Monitor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    latest: watch::Sender<Option<Gathered>>,
    /// Notified when a console is opened and the latest vitals are old.
    opened: Notify,
    history: Mutex<History>,
    /// Durations of the commands that this process has answered.
    commands: Latency,
}

/// Vitals as JSON, encoded once for all consoles.
#[derive(Debug, Clone)]
struct Gathered {
    at: Instant,
    json: Arc<str>,
}

impl Monitor {
    /// Follows the vitals from now on, for a console.
    pub(crate) fn subscribe(&self) -> Subscription {
        let mut latest = self.0.latest.subscribe();
        let fresh = |gathered: &Gathered| gathered.at.elapsed() < FRESH;
        if latest.borrow().as_ref().is_some_and(fresh) {
            latest.mark_changed();
        } else {
            self.0.opened.notify_one();
        }
        Subscription(latest)
    }

    /// The lag of the last hour.
    pub(crate) fn history(&self) -> History {
        self.lock().clone()
    }

    /// Where the durations of commands are recorded.
    pub(crate) fn commands(&self) -> &Latency {
        &self.0.commands
    }

    /// Waits until a console is opened and has no vitals yet.
    pub(super) fn opened(&self) -> Notified<'_> {
        self.0.opened.notified()
    }

    /// Whether a console is open.
    pub(super) fn is_watched(&self) -> bool {
        self.0.latest.receiver_count() > 0
    }

    /// Makes `vitals` the latest.
    pub(super) fn publish(&self, vitals: &Vitals) {
        match serde_json::to_string(vitals) {
            Ok(json) => {
                let gathered = Gathered { at: Instant::now(), json: json.into() };
                self.0.latest.send_replace(Some(gathered));
            }
            Err(error) => tracing::error!(%error, "vitals cannot be encoded"),
        }
    }

    /// Adds a sample to the history.
    pub(super) fn add(&self, sample: LagSample) {
        self.lock().push(sample);
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The vitals as an open console receives them.
#[derive(Debug)]
pub(crate) struct Subscription(watch::Receiver<Option<Gathered>>);

impl Subscription {
    /// Waits for vitals that this console has not received, and returns the latest; none after the
    /// shutdown. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(gathered) = &*self.0.borrow_and_update() {
                return Some(Arc::clone(&gathered.json));
            }
        }
    }
}
