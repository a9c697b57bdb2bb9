//! Runs the process manager of orders, and cancels orders that were not confirmed in time.

use std::time::Duration;

use commands::orders::{Fulfilment, OrderDeadlines};
use eventstore::RetryLog;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Interval between two searches for expired orders.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Runs until `shutdown`.
pub(super) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let fulfilment = Fulfilment::new(&parts.store);
    let deadlines = OrderDeadlines::new(&parts.store);
    let expiring = async {
        let mut log = RetryLog::new("expiry of orders");
        loop {
            let expired = expire(&deadlines, parts).await;
            log.note(expired.map_err(|error| format!("{error:#}")));
            tokio::time::sleep(EXPIRE_EVERY).await;
        }
    };
    tokio::join!(
        fulfilment.run(&parts.feed, shutdown),
        deadlines.run(&parts.feed, shutdown),
        shutdown.run_until_cancelled(expiring),
    );
}

/// Cancels the orders whose deadline has passed by the clock of the log.
async fn expire(deadlines: &OrderDeadlines, parts: &Parts) -> anyhow::Result<()> {
    let now = parts.store.now().await?;
    deadlines.expire_due(now).await?;
    Ok(())
}
