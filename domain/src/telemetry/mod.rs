//! Telemetry: readings and presence of devices. Readings are facts: they are validated and recorded,
//! and have no decider. The event id of a reading is derived from what identifies it, so a repeated
//! delivery is a duplicate.
//!
//! Streams: `device-{user_id}~{device_id}` holds a device's readings and presence,
//! `presence-{user_id}` a user's presence setting, `rejection-{source}` refused messages.

mod id;
mod limits;
pub mod presence;
pub mod published;
mod invalid;
mod fields;
mod reading;
mod mapped;
mod rejected;
pub mod restart;

use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::event::Position;
use eventsourcing::union;

pub use fields::BootId;
pub use invalid::InvalidReading;
pub use limits::Limits;
pub use mapped::MappedParts;
pub use published::{
    DEVICE, DeviceId, DeviceRef, InvalidId, READING_RECORDED, REJECTION, UserId, device_stream,
    rejection_stream,
};
pub use reading::{Batch, Reading};
pub use rejected::MessageRejected;

const TYPES: &[(&str, i16)] = &[
    (READING_RECORDED, 1),
    ("device_connected", 1),
    ("device_disconnected", 1),
    ("message_rejected", 1),
];

/// The context of devices.
pub const CONTEXT: Context = Context {
    name: "telemetry",
    categories: &[DEVICE, presence::CATEGORY, REJECTION],
    events: &[TYPES, presence::TYPES],
    deciders: &[AnyDecider::of::<presence::Setting>()],
};

/// Events of a device, and refused messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A device sent a reading.
    ReadingRecorded(Reading),
    /// A device sent its birth message, or the presence watcher found it online (see [`Reason`]).
    DeviceConnected(Connection),
    /// The device's will was published, or the presence watcher found it inactive.
    DeviceDisconnected(Connection),
    /// A message was refused because it is not valid.
    MessageRejected(MessageRejected),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// A change of a device's connection: a birth, a will, or a decision of the presence watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Id of the user.
    pub user_id: UserId,
    /// Id of the device.
    pub device_id: DeviceId,
    /// Number of the MQTT session, increased by the device with each session. In a decision: the
    /// last known number, 0 if none is known.
    pub session_seq: i64,
    /// Id of the device's boot, which distinguishes a restarted session counter from the previous
    /// one; empty if the device sends none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Why the presence watcher decided; `None` in a birth and in a will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Position of the device's last event that the decision is based on; `None` in a birth and in a
    /// will. Events between this position and the decision may invalidate the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<Position>,
}

impl Connection {
    /// Returns the device.
    pub fn device(&self) -> DeviceRef<'_> {
        DeviceRef { user_id: &self.user_id, device_id: &self.device_id }
    }
}

/// Why the presence watcher decided that a device is online or offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The device sent nothing for longer than its user's presence setting allows.
    Inactive,
    /// The device sent a reading while it was offline or unknown.
    Heard,
}

union! {
    /// Events of devices and of presence settings.
    #[expect(unused_qualifications, reason = "the macro imports a trait of the same name")]
    pub enum AnyEvent { Device(self::Event), Presence(presence::Event) }
}
