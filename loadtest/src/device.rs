//! One device on MQTT. Its messages are due whether it is connected or not, and their latencies count
//! from then.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::controls::Controls;
use super::plan::Plan;
use super::queue::Queue;
use super::stats::Start;

/// The state of a device across connections.
pub(crate) struct Device {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: u32,
    pub(crate) topic: Bytes,
    pub(crate) queue: Queue,
    pub(crate) start: Start,
    pub(crate) controls: Controls,
    /// Whether the schedule was ended early.
    pub(crate) ended: bool,
    /// Nothing is sent before.
    pub(crate) hold: Instant,
}

impl Device {
    pub(crate) fn new(plan: Arc<Plan>, index: u32, start: Start, controls: Controls) -> Self {
        let (user, device) = (plan.user_id(plan.user_of(index)), plan.device_id(index));
        let topic = format!("users/{user}/devices/{device}/telemetry").into();
        let queue = Queue::new(Arc::clone(&plan), index);
        Self { plan, index, topic, queue, start, controls, ended: false, hold: start.at }
    }
}
