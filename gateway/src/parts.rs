//! What the roles of one process share.

use std::sync::Arc;

use eventstore::{Bus, EventStore, Feed};
use projections::{Progress, Waiter};
use tokio_util::task::TaskTracker;

use crate::bridge::Accounting;
use crate::config::Config;

/// What the roles of one process share.
#[derive(Debug, Clone)]
pub struct Parts {
    pub config: Arc<Config>,
    pub store: EventStore,
    pub bus: Bus,
    pub feed: Feed,
    pub progress: Progress,
    pub wait: Waiter,
    /// The bridge's books, if one of the roles is to run it.
    pub bridge: Option<Arc<Accounting>>,
    /// Shutdown waits for what runs here.
    pub tasks: TaskTracker,
}
