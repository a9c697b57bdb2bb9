//! Names on the bus.

/// The JetStream stream that carries the log.
pub const STREAM: &str = "EVENTS";
/// Subjects of the stream: `events.{context}.{category}.{key}.{event_type}`.
pub const SUBJECTS: &str = "events.>";
/// Core NATS subject of head announcements: the last committed position in decimal.
pub const HEAD_SUBJECT: &str = "log.head";
