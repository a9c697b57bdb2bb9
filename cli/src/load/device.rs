//! One device on MQTT, for as long as it has something to say: connected or not, a message is due
//! when it is due, and its latency counts from then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::Controls;
use super::plan::Plan;
use super::queue::{Queue, Sent};
use super::talk::Talk;
use super::tally::Start;
use mqtt::{Connection, Dialer};

/// Between two attempts to connect, at most.
const RECONNECT: Duration = Duration::from_millis(250);

pub(super) struct Device {
    pub(super) plan: Arc<Plan>,
    pub(super) index: u32,
    pub(super) topic: Bytes,
    pub(super) queue: Queue,
    pub(super) start: Start,
    pub(super) controls: Controls,
    /// It was told to end early.
    pub(super) ended: bool,
    /// It sends nothing before.
    pub(super) hold: Instant,
}

impl Device {
    pub(super) fn new(plan: Arc<Plan>, index: u32, start: Start, controls: Controls) -> Self {
        let (user, device) = (plan.user_id(plan.user_of(index)), plan.device_id(index));
        let topic = format!("users/{user}/devices/{device}/telemetry").into();
        let queue = Queue::new(Arc::clone(&plan), index);
        Self { plan, index, topic, queue, start, controls, ended: false, hold: start.at }
    }

    /// Sends everything, over as many connections as it takes; or until it has to give up.
    pub(super) async fn run(mut self, dialer: Dialer, first: Connection) -> Sent {
        let give_up = self.controls.give_up.clone();
        give_up.run_until_cancelled(self.send(&dialer, first)).await;
        self.queue.into_sent()
    }

    async fn send(&mut self, dialer: &Dialer, first: Connection) {
        let mut connected = Ok(first);
        loop {
            let outcome = match connected {
                Ok(connection) => Talk::run(self, connection).await,
                Err(lost) => Err(lost),
            };
            let Err(lost) = outcome else { return };
            self.controls.tally.trouble(lost.to_string());
            sleep(RECONNECT.mul_f64(rand::random_range(0.5..=1.0))).await;
            connected = dialer.connect().await;
        }
    }
}
