//! Vitals: rates, latencies and lag, as the console shows them.
//!
//! One task gathers them for all consoles that are open, once a second, and the lag of the last hour
//! every ten seconds, open consoles or not. A console that takes long to read gets fewer of them:
//! only the latest are kept. What ten consoles cost: see [`gather`].

mod consumers;
mod door;
mod sample;
mod history;
mod traffic;
mod visibility;
mod gather;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eventstore::Latency;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use gather::Gatherer;

pub use history::{History, LagSample};
pub use sample::Vitals;

/// Age from which vitals are not sent to a console that has just been opened: it waits for the next.
const FRESH: Duration = Duration::from_secs(1);

/// The vitals of the last second as JSON, and the lag of the last hour. Clones share them.
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

/// Vitals as JSON, shared by all consoles.
#[derive(Debug, Clone)]
struct Gathered {
    at: Instant,
    json: Arc<str>,
}

impl Monitor {
    /// Starts to gather on the tasks of `parts`, until `shutdown`.
    pub fn start(parts: &Parts, shutdown: &CancellationToken) -> Self {
        let monitor = Self::default();
        let visible = Latency::default();
        let gatherer = Gatherer::new(parts.clone(), monitor.clone(), visible.clone());
        let gathering = shutdown.clone().run_until_cancelled_owned(gatherer.run());
        parts.tasks.spawn("vitals", gathering);
        if parts.runs_projector() {
            let probing = visibility::probe(parts.clone(), monitor.clone(), visible);
            let probing = shutdown.clone().run_until_cancelled_owned(probing);
            parts.tasks.spawn("visibility probe", probing);
        }
        monitor
    }

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

    /// Whether a console is open.
    fn is_watched(&self) -> bool {
        self.0.latest.receiver_count() > 0
    }

    fn publish(&self, vitals: &Vitals) {
        match serde_json::to_string(vitals) {
            Ok(json) => {
                let gathered = Gathered { at: Instant::now(), json: json.into() };
                self.0.latest.send_replace(Some(gathered));
            }
            Err(error) => tracing::error!(%error, "vitals cannot be encoded"),
        }
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
