//! Rebuilds of read models that were requested over HTTP, in the background of this process.

use std::sync::Arc;

use eventstore::{Tasks, caught};
use projections::{Purpose, Rebuild, Step};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Rebuilds that run at a time in one process; further ones wait. Bounds the memory.
const MAX_CONCURRENT: usize = 2;

/// Runs rebuilds in the background.
#[derive(Debug)]
pub struct Rebuilds {
    tasks: Tasks,
    permits: Arc<Semaphore>,
}

impl Rebuilds {
    /// Rebuilds that run on `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// Runs `rebuild` until it is done, or until `shutdown`. Its lines in the log have the trace id of
    /// the request.
    pub(super) fn run(&self, rebuild: Rebuild, trace_id: &str, shutdown: CancellationToken) {
        // Not below the span of the request, which would last as long as the rebuild.
        let span = tracing::error_span!(parent: None, "rebuild", trace_id);
        let permits = Arc::clone(&self.permits);
        let running = shutdown.run_until_cancelled_owned(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let name = rebuild.name();
            let (step, _) = watch::channel(Step::default());
            match caught(rebuild.run(Purpose::Replace, &step)).await {
                Ok(Ok(done)) => tracing::info!(
                    projection = name,
                    events = done.events,
                    position = done.position,
                    seconds = done.seconds,
                    parked = done.parked,
                    "projection rebuilt",
                ),
                Ok(Err(error)) => tracing::error!(projection = name, %error, "rebuild failed"),
                Err(panic) => tracing::error!(projection = name, panic, "rebuild panicked"),
            }
        });
        self.tasks.spawn("rebuild", running.instrument(span));
    }
}
