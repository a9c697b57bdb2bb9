//! Runs the projections.

use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Starts the projections on their own tasks, and waits for `shutdown`.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, feed, progress, tasks, .. } = &parts;
    projections::spawn(store, feed, progress, tasks, &shutdown);
    shutdown.cancelled().await;
    Ok(())
}
