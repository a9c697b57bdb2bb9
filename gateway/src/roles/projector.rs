//! Runs the projections.

use std::time::Duration;

use projections::telemetry::{Limits, set_limits};
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Wait before another attempt to store the limits of telemetry.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the projections on their own tasks, and waits for `shutdown`.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, feed, progress, tasks, .. } = &parts;
    projections::spawn(store, feed, progress, tasks, &shutdown);
    let limits = parts.config.telemetry.limits();
    shutdown.run_until_cancelled(store_limits(store.pool(), &limits)).await;
    shutdown.cancelled().await;
    Ok(())
}

/// Stores the limits of telemetry. Retries while Postgres is down or the read model is of another
/// version; the projector applies the limits before meanwhile.
async fn store_limits(pool: &PgPool, limits: &Limits) {
    loop {
        match set_limits(pool, limits).await {
            Ok(false) => return,
            Ok(true) => return tracing::info!(?limits, "telemetry limits changed"),
            Err(error) => tracing::debug!(%error, "telemetry limits not stored, retrying"),
        }
        sleep(PAUSE).await;
    }
}
