//! Announces commits of this process on the subject `log.head`, so that consumers in other processes
//! read the log without waiting for their next poll.

use tokio_util::sync::CancellationToken;

use crate::bus::Bus;
use crate::{EventStore, Tasks};

/// Starts the task that announces the commits of this process. Commits during an announcement are
/// announced together.
pub fn announcer(store: &EventStore, bus: Bus, tasks: &Tasks, shutdown: CancellationToken) {
    let mut committed = store.committed();
    let work = async move {
        while committed.changed().await.is_ok() {
            let position = *committed.borrow_and_update();
            if let Err(error) = bus.announce(position).await {
                tracing::debug!(%error, "commit not announced");
            }
        }
    };
    tasks.spawn("head announcer", async move {
        shutdown.run_until_cancelled(work).await;
    });
}
