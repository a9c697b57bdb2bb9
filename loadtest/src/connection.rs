//! The connections of a device, one after the other: publishes what is due, and records what was
//! acknowledged.

use std::time::Duration;

use mqtt::{Client, ConnectionError, Dialer, Event};
use rumqttc::PubAckReason;
use tokio::time::{Instant, sleep, sleep_until};

use super::device::Device;
use super::queue::Sent;
use super::reading;

/// How long a device pauses after the broker refused a message or had no subscriber for it.
const HOLD: Duration = Duration::from_millis(250);

/// Longest delay between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(250);

/// Publishes everything a device has, over as many connections as it takes, or until `give_up`.
pub(crate) async fn run(mut device: Device, dialer: Dialer, first: Client<u32>) -> Sent {
    let give_up = device.controls.give_up.clone();
    give_up.run_until_cancelled(publish(&mut device, &dialer, first)).await;
    device.queue.into_sent()
}

async fn publish(device: &mut Device, dialer: &Dialer, first: Client<u32>) {
    let mut connected = Ok(first);
    loop {
        let outcome = match connected {
            Ok(client) => Connection::run(device, client).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return };
        device.controls.stats.trouble(error.to_string());
        sleep(RECONNECT.mul_f64(rand::random_range(0.5..=1.0))).await;
        connected = dialer.connect().await;
    }
}

struct Connection<'a> {
    device: &'a mut Device,
    client: Client<u32>,
    text: String,
    /// Latencies of acknowledged messages, not yet added to the statistics.
    latencies: Vec<Duration>,
}

impl<'a> Connection<'a> {
    /// Publishes until everything is acknowledged or the connection is lost.
    async fn run(device: &'a mut Device, client: Client<u32>) -> Result<(), ConnectionError> {
        let (text, latencies) = (String::new(), Vec::new());
        let mut connection = Connection { device, client, text, latencies };
        let outcome = connection.until_done().await;
        connection.flush_stats();
        let Connection { device, client, .. } = connection;
        if outcome.is_ok() {
            drop(client.disconnect().await); // All is acknowledged: a failure has no effect.
        } else {
            device.queue.unacknowledged(client.into_unacknowledged());
        }
        outcome
    }

    async fn until_done(&mut self) -> Result<(), ConnectionError> {
        let stop = self.device.controls.stop.clone();
        while !self.device.queue.is_done() {
            self.publish_due()?;
            let wake_at = self.wake_at();
            tokio::select! {
                event = self.client.next() => {
                    self.handle(event?);
                    while let Some(event) = self.client.try_next()? {
                        self.handle(event);
                    }
                    self.flush_stats();
                }
                () = sleep_until(wake_at) => {}
                () = stop.cancelled(), if !self.device.ended => {
                    self.device.ended = true;
                    self.device.queue.end(self.device.start.at.elapsed());
                }
            }
        }
        Ok(())
    }

    /// Publishes what is due, as far as there is room.
    fn publish_due(&mut self) -> Result<(), ConnectionError> {
        let now = Instant::now();
        let device = &mut *self.device;
        if now < device.hold {
            return Ok(());
        }
        let elapsed = now.saturating_duration_since(device.start.at);
        while self.client.room() > 0
            && let Some(taken) = device.queue.take(elapsed)
        {
            self.text.clear();
            self.text.push('{');
            let message = (device.index, taken.sequence);
            reading::write(&mut self.text, &device.plan, device.start.wall, message);
            self.text.push('}');
            let payload = self.text.as_bytes().to_vec();
            self.client.publish(device.topic.clone(), payload, taken.sequence)?;
            device.controls.stats.sent(taken.again);
        }
        Ok(())
    }

    /// When the next message is due that can be published.
    fn wake_at(&self) -> Instant {
        let Device { queue, start, hold, .. } = &*self.device;
        match queue.due().filter(|_| self.client.room() > 0) {
            Some(due) => (start.at + due).max(*hold),
            // The client's next event makes room.
            None => Instant::now() + Duration::from_hours(1),
        }
    }

    fn handle(&mut self, event: Event<u32>) {
        match event {
            Event::Acknowledged { tag: sequence, reason } => self.acknowledged(sequence, reason),
            Event::Message(message) => {
                if let Some(ack) = message.ack {
                    ack.send();
                }
            }
            // A broker may refuse a device its alerts; this one is here to publish.
            Event::Subscribed(_) | Event::Writable => {}
        }
    }

    fn acknowledged(&mut self, sequence: u32, reason: PubAckReason) {
        let device = &mut *self.device;
        if reason == PubAckReason::Success {
            if let Some(due) = device.queue.acknowledged(sequence) {
                self.latencies.push(device.start.at.elapsed().saturating_sub(due));
            }
            return;
        }
        // Also "no matching subscribers": the broker discarded the message.
        device.controls.stats.trouble(format!("the broker answered PUBLISH with {reason:?}"));
        device.queue.unacknowledged(vec![sequence]);
        device.hold = Instant::now() + HOLD;
    }

    fn flush_stats(&mut self) {
        if !self.latencies.is_empty() {
            self.device.controls.stats.acknowledged(&self.latencies);
            self.latencies.clear();
        }
    }
}
