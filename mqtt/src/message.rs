//! What a client receives.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::{PubAckReason, QoS, SubscribeReasonCode};
use tokio::sync::mpsc::OwnedPermit;

use super::error::ConnectionError;

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<T> {
    /// SUBACK: the broker answered the subscriptions.
    Subscribed(Subscribed),
    /// PUBLISH: a message for us.
    Message(Message),
    /// PUBACK: the broker answered a message that we published.
    Acknowledged {
        /// What [`Client::publish`](super::Client::publish) was given with the message. From a
        /// [`Reader`](super::Reader), its packet id.
        tag: T,
        /// `NoMatchingSubscribers` is success without a receiver. Always `Success` in MQTT 3.1.1.
        reason: PubAckReason,
    },
    /// The write buffer was full and is empty now: [`Client::room`](super::Client::room) has grown.
    Writable,
}

/// A received message. Topic and payload share the read buffer: a message that is kept for long is
/// copied first, or it retains 64 KiB.
#[derive(Debug)]
pub struct Message {
    /// The topic it was published to.
    pub topic: Bytes,
    /// The payload. Shorter than `size` if the packet was larger than
    /// [`Options::max_packet_bytes`](super::Options::max_packet_bytes).
    pub payload: Bytes,
    /// Length of the payload as published, in bytes.
    pub size: usize,
    /// Whether it was published before we subscribed.
    pub retain: bool,
    /// Whether the broker may have delivered it before, unacknowledged: its `DUP` flag.
    pub redelivered: bool,
    /// Packet id of the delivery, which a redelivery repeats; 0 at `QoS` 0.
    pub packet_id: u16,
    /// The `QoS` of its delivery, 0 or 1.
    pub qos: QoS,
    /// Acknowledges it. `None` at `QoS` 0, and when the connection can no longer be written to.
    pub ack: Option<Ack>,
}

impl Message {
    /// Whether `payload` is only the beginning.
    pub fn is_truncated(&self) -> bool {
        self.payload.len() < self.size
    }
}

/// The right to acknowledge one message, on the connection that delivered it. Dropped, the message
/// stays unacknowledged and the broker redelivers it on the next connection. After the end of its
/// connection it has no effect: packet ids have a new meaning on the next one.
#[derive(Debug)]
pub struct Ack {
    pub(crate) packet_id: u16,
    /// A place in the writer's queue, reserved before the message was handed out: acknowledging
    /// never waits. The queue has as many places as the Receive Maximum, and so enforces it.
    pub(crate) place: OwnedPermit<u16>,
}

impl Ack {
    /// Sends PUBACK. PUBACKs leave in the order of these calls, which must be the order in which
    /// the messages arrived [MQTT-4.6.0].
    pub fn send(self) {
        self.place.send(self.packet_id);
    }
}

/// The broker's answer to the subscriptions.
#[derive(Debug)]
pub struct Subscribed {
    pub(crate) filters: Arc<[String]>,
    pub(crate) codes: Vec<SubscribeReasonCode>,
}

impl Subscribed {
    /// Fails for the first filter that was refused or granted at a lower `QoS` than `least`.
    pub fn require(&self, least: QoS) -> Result<(), ConnectionError> {
        for (filter, code) in self.filters.iter().zip(&self.codes) {
            if !matches!(code, SubscribeReasonCode::Success(qos) if *qos as u8 >= least as u8) {
                let reason = format!("{code:?}");
                return Err(ConnectionError::Subscription { filter: filter.clone(), reason });
            }
        }
        Ok(())
    }
}
