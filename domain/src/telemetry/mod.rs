//! Telemetry: what devices report. Readings are facts: nobody decides whether they happened, so
//! there is no decider here, only validation at the edge and an identity that makes the same
//! reading the same event.
//!
//! Streams: `device-{user_id}~{device_id}` holds a device's readings and presence,
//! `rejection-{source}` what could not be understood.

mod id;
mod reading;
mod rejected;

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::event::StreamId;

pub use id::{DeviceId, DeviceRef, InvalidId, UserId};
pub use reading::{Batch, InvalidReading, Reading};
pub use rejected::MessageRejected;

/// Category of the streams of devices.
pub const DEVICE: &str = "device";
/// Category of the streams of messages nobody could read.
pub const REJECTION: &str = "rejection";

const TYPES: &[(&str, i16)] = &[
    ("reading_recorded", 1),
    ("device_connected", 1),
    ("device_disconnected", 1),
    ("message_rejected", 1),
];

pub const CONTEXT: Context =
    Context { name: "telemetry", categories: &[DEVICE, REJECTION], events: &[TYPES] };

/// What devices did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    ReadingRecorded(Reading),
    /// A device announced itself; `session_seq` grows with each of its sessions.
    DeviceConnected {
        user_id: UserId,
        device_id: DeviceId,
        session_seq: i64,
    },
    /// A device left, or its broker noticed that it had gone.
    DeviceDisconnected {
        user_id: UserId,
        device_id: DeviceId,
        session_seq: i64,
    },
    MessageRejected(MessageRejected),
}

impl crate::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// The stream of one device.
pub fn device_stream(device: DeviceRef<'_>) -> StreamId {
    StreamId::new(DEVICE, device)
}

/// The stream of what one source (`mqtt`, `http`) sent and nobody could read.
pub fn rejection_stream(source: &str) -> StreamId {
    StreamId::new(REJECTION, source)
}
