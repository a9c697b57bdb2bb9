//! Telemetry: what devices report. Readings are facts: nobody decides whether they happened, so
//! there is no decider here, only validation at the edge and an identity that makes the same
//! reading the same event.
//!
//! Streams: `device-{user_id}~{device_id}` holds a device's readings and presence,
//! `presence-{user_id}` how long the user's devices may be silent, `rejection-{source}` what could
//! not be understood.

mod id;
pub mod presence;
mod reading;
mod rejected;

use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::event::{Position, StreamId};
use eventsourcing::union;

pub use id::{DeviceId, DeviceRef, InvalidId, UserId};
pub use reading::{Batch, BootId, InvalidReading, Reading};
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

pub const CONTEXT: Context = Context {
    name: "telemetry",
    categories: &[DEVICE, presence::CATEGORY, REJECTION],
    events: &[TYPES, presence::TYPES],
    deciders: &[AnyDecider::of::<presence::Setting>()],
};

/// What devices did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    ReadingRecorded(Reading),
    /// A device announced itself, or was heard of after all.
    DeviceConnected(Connection),
    /// A device left, its broker noticed that it had gone, or it was silent for too long.
    DeviceDisconnected(Connection),
    MessageRejected(MessageRejected),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// What was said of a device's connection: by itself, by its broker, or by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub user_id: UserId,
    pub device_id: DeviceId,
    /// Grows with each of the device's sessions. In a decision of ours: the last one known, 0 where
    /// none is.
    pub session_seq: i64,
    /// Tells a restarted counter of sessions from the one before; empty when the device does not
    /// say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// StatusReason we decided it; missing in a birth and in a will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The device's last event that our decision rests on; missing in a birth and in a will. What
    /// came between it and the decision may have overtaken the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<Position>,
}

impl Connection {
    /// Whose it is.
    pub fn device(&self) -> DeviceRef<'_> {
        DeviceRef { user_id: &self.user_id, device_id: &self.device_id }
    }
}

/// StatusReason we decided on our own that a device is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was silent for longer than its user allows.
    Inactive,
    /// It sent a reading although it was not known to be there.
    Heard,
}

union! {
    /// What is told of devices and of how long they may be silent.
    #[expect(unused_qualifications, reason = "beside the trait of the same name, in the macro")]
    pub enum AnyEvent { Device(self::Event), Presence(presence::Event) }
}

/// The stream of one device.
pub fn device_stream(device: DeviceRef<'_>) -> StreamId {
    StreamId::new(DEVICE, device)
}

/// The stream of what one source (`mqtt`, `http`) sent and nobody could read.
pub fn rejection_stream(source: &str) -> StreamId {
    StreamId::new(REJECTION, source)
}
