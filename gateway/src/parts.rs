//! The parts that the roles of one process share.

use std::sync::Arc;

use eventstore::{Bus, EventStore, Feed, LogReader, Tasks};
use projections::{Progress, Waiter};
use tokio_util::sync::CancellationToken;

use crate::backpressure::Backpressure;
use crate::bridge::Accounting;
use crate::config::{Config, ProcessRole};
use crate::one_time_codes::OneTimeCodes;

/// The parts that the roles of one process share. Clones refer to the same parts.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Configuration of the process.
    pub config: Arc<Config>,
    /// The roles that this process runs.
    pub roles: Arc<[ProcessRole]>,
    /// Appends to the log and reads it.
    pub store: EventStore,
    /// The standby that answers queries of the HTTP API, if one is configured.
    pub standby: Option<LogReader>,
    /// Connection to NATS.
    pub bus: Bus,
    /// The most recent events, for subscriptions.
    pub feed: Feed,
    /// Checkpoints of the projections that run in this process.
    pub progress: Progress,
    /// Waits until a projection includes a position.
    pub wait: Waiter,
    /// Message counts of the MQTT bridge; none if this process does not run the role.
    pub bridge: Option<Arc<Accounting>>,
    /// Pauses the intake of facts while consumers fall behind.
    pub backpressure: Backpressure,
    /// Codes that sign a user in once.
    pub one_time_codes: OneTimeCodes,
    /// Cancelled when the process begins to drain: before its roles stop.
    pub draining: CancellationToken,
    /// Tasks that shutdown waits for. A panic in one ends the process.
    pub tasks: Tasks,
}

impl Parts {
    /// Whether this process runs the projections.
    pub(crate) fn runs_projector(&self) -> bool {
        self.roles.contains(&ProcessRole::Projector)
    }
}
