//! What all senders share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::stats::Stats;

/// The statistics, and the signals to end early.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    pub(crate) stats: Arc<Stats>,
    /// No further message becomes due.
    pub(crate) stop: CancellationToken,
    /// Unacknowledged messages are given up.
    pub(crate) give_up: CancellationToken,
}
