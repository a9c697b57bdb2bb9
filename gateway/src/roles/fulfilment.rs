//! Runs the process manager of orders, and cancels orders that were not confirmed in time.

use std::time::Duration;

use chrono::Utc;
use commands::orders::{Fulfilment, OrderDeadlines};
use eventstore::{ErrorChain, RetryLog};
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
            let expired = deadlines.expire_due(Utc::now()).await;
            log.note(expired.map(drop).map_err(|error| ErrorChain(&error).to_string()));
            tokio::time::sleep(EXPIRE_EVERY).await;
        }
    };
    tokio::join!(
        fulfilment.run(&parts.feed, shutdown),
        deadlines.run(&parts.feed, shutdown),
        shutdown.run_until_cancelled(expiring),
    );
}
