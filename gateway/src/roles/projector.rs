//! Keeps the read models.

use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Projections run on tasks of their own; this only waits with them.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, feed, progress, tasks, .. } = &parts;
    projections::spawn(store, feed, progress, tasks, &shutdown);
    shutdown.cancelled().await;
    Ok(())
}
