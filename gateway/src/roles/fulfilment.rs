//! Moves orders along, and cancels those that were not confirmed in time.

use std::time::Duration;

use chrono::Utc;
use commands::orders::Fulfilment;
use projections::orders::expired;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Between two looks for orders that expired.
const LOOK: Duration = Duration::from_secs(1);
/// Orders expired at one look, at most.
const AT_ONCE: i64 = 500;

/// Runs until `shutdown`.
pub(super) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let fulfilment = Fulfilment::new(&parts.store);
    let expiring = async {
        loop {
            if let Err(error) = expire(&fulfilment, parts).await {
                tracing::debug!(error = format!("{error:#}"), "orders are not expired yet");
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::join!(fulfilment.run(&parts.feed, shutdown), shutdown.run_until_cancelled(expiring),);
}

/// The read model proposes, the order decides.
async fn expire(fulfilment: &Fulfilment, parts: &Parts) -> anyhow::Result<()> {
    let now = Utc::now();
    for id in expired(parts.store.pool(), now, AT_ONCE).await? {
        fulfilment.expire(id, now).await?;
    }
    Ok(())
}
