//! Runs the process manager of orders, and cancels orders that were not confirmed in time.

use std::time::Duration;

use chrono::Utc;
use commands::orders::Fulfilment;
use projections::orders::expired;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Interval between two searches for expired orders.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Most orders cancelled in one search.
const EXPIRE_AT_ONCE: i64 = 500;

/// Runs until `shutdown`.
pub(super) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let fulfilment = Fulfilment::new(&parts.store);
    let expiring = async {
        loop {
            if let Err(error) = expire(&fulfilment, parts).await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "expired orders not cancelled, retrying"
                );
            }
            tokio::time::sleep(EXPIRE_EVERY).await;
        }
    };
    tokio::join!(fulfilment.run(&parts.feed, shutdown), shutdown.run_until_cancelled(expiring),);
}

/// Cancels expired orders. The read model finds them, the decider of the order decides.
async fn expire(fulfilment: &Fulfilment, parts: &Parts) -> anyhow::Result<()> {
    let now = Utc::now();
    for id in expired(parts.store.pool(), now, EXPIRE_AT_ONCE).await? {
        fulfilment.expire(id, now).await?;
    }
    Ok(())
}
