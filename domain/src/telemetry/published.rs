//! The published part of telemetry: the ids, categories, event types and stream ids that other
//! contexts may match or build.

use eventsourcing::StreamId;

pub use super::id::{DeviceId, DeviceRef, InvalidId, UserId};

/// Category of the streams of devices: readings and presence.
pub const DEVICE: &str = "device";
/// Category of the streams of refused messages.
pub const REJECTION: &str = "rejection";
/// Event type of a reading, in the streams of devices.
pub const READING_RECORDED: &str = "reading_recorded";

/// Returns the stream of a device.
pub fn device_stream(device: DeviceRef<'_>) -> StreamId {
    StreamId::new(DEVICE, device)
}

/// Returns the stream of the refused messages of a source: `mqtt`, `nats` or `http`.
pub fn rejection_stream(source: &str) -> StreamId {
    StreamId::new(REJECTION, source)
}
