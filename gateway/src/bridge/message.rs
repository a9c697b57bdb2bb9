//! A message as received, and the record of one that is refused. Pure.

use chrono::{DateTime, Utc};
use domain::alerts::Fault;
use domain::host::InvalidSample;
use domain::telemetry::{Event, InvalidReading, MessageRejected, Reading, rejection_stream};
use eventsourcing::event::CodecError;
use eventsourcing::json::ReadError;
use eventstore::{Append, AppendError, ExpectedVersion, NewEvent};
use uuid::Uuid;

use super::mapping::Unmapped;
use super::topics::InvalidTopic;

/// Rejected messages are recorded in the stream `rejection-mqtt`.
const SOURCE: &str = "mqtt";
/// Estimated memory of a message in flight besides its text: its append request, the waiting
/// future, its place in three queues.
const OVERHEAD_BYTES: usize = 1024;

/// A message as received, kept until it is recorded: a retry, or its rejection, starts from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: Box<str>,
    pub(super) payload: Box<[u8]>,
    /// Length of the whole payload in bytes. Of one that exceeds the limit, a prefix is kept.
    size: usize,
    pub(super) received_at: DateTime<Utc>,
    pub(super) delivery: Delivery,
}

/// How the broker delivered a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Whether the broker kept the message and sent it because the bridge subscribed. It says what was
    /// so when it was published, and comes again with every subscription.
    pub retained: bool,
    /// Whether the broker may have delivered it before, unacknowledged.
    pub redelivered: bool,
    /// Packet id, which a redelivery repeats; 0 at `QoS` 0.
    pub packet_id: u16,
}

impl Message {
    /// A message whose payload has `size` bytes, of which `payload` may be only the beginning.
    pub(super) fn new(
        topic: &[u8],
        payload: &[u8],
        size: usize,
        received_at: DateTime<Utc>,
    ) -> Self {
        let kept = if size > Reading::MAX_BYTES {
            &payload[..payload.len().min(MessageRejected::MAX_PAYLOAD_BYTES)]
        } else {
            payload
        };
        Self {
            topic: String::from_utf8_lossy(topic).into(),
            payload: kept.into(),
            size,
            received_at,
            delivery: Delivery::default(),
        }
    }

    /// Its memory in bytes while in flight: as received, and once more as the event made of it.
    pub(super) fn weight(&self) -> usize {
        OVERHEAD_BYTES + self.topic.len() + 2 * self.payload.len()
    }

    /// Sets how the broker delivered it; by default as a new message.
    #[must_use]
    pub(super) fn delivered(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// Whether the same message may have been recorded before, from an earlier delivery.
    pub(super) fn is_repeated(&self) -> bool {
        self.delivery.redelivered || self.delivery.retained
    }

    /// Whether only the beginning of the payload was kept.
    pub(super) fn is_truncated(&self) -> bool {
        self.payload.len() < self.size
    }

    /// The request that records the rejection. The caller chooses `id`, so that a request whose
    /// outcome is unknown can be retried.
    pub(super) fn rejection(&self, reason: &Refused, id: Uuid) -> Result<Append, CodecError> {
        let mut rejected = MessageRejected::new(&self.topic, &self.payload, reason);
        rejected.size = self.size as u64;
        let events = vec![NewEvent::with_id(id, &Event::MessageRejected(rejected))?];
        let stream = rejection_stream(SOURCE);
        Ok(Append::to(stream, ExpectedVersion::Any, events))
    }
}

/// Why a message is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    #[error("the message is longer than {} bytes", Reading::MAX_BYTES)]
    TooLarge,
    #[error(transparent)]
    Reading(#[from] InvalidReading),
    #[error(transparent)]
    Sample(#[from] InvalidSample),
    #[error("invalid alert rules: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<Fault>),
    #[error("invalid device status: {0}")]
    NotAStatus(ReadError),
    /// A topic mapping applies, but finds no reading in the message.
    #[error(transparent)]
    Unmapped(#[from] Unmapped),
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log cannot store it: an escaped NUL, for example.
    #[error("{0}")]
    Log(AppendError),
}

impl Refused {
    /// The fault, if the message is a reading that is not valid.
    pub(super) fn invalid_reading(&self) -> Option<&InvalidReading> {
        match self {
            Self::Reading(fault) | Self::Unmapped(Unmapped::Reading(fault)) => Some(fault),
            _ => None,
        }
    }
}
