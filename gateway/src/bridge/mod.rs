//! The MQTT bridge: what devices publish becomes events, and is acknowledged once it is one.
//!
//! - A PUBACK leaves after the commit, never before, and in the order of receipt [MQTT-4.6.0].
//!   What is not acknowledged is delivered again; ids derived from the message make it a duplicate.
//! - What cannot be understood is recorded as rejected, with the reason, and then acknowledged.
//! - Nothing is unbounded: the broker may have [`Options::receive_maximum`] messages on their way,
//!   and all that is held together weighs at most [`HELD_BYTES`].
//!
//! One connection is two tasks that never wait for each other, `session`'s reader and writer; a
//! third, `acks`, appends what the reader took and tells the writer what to acknowledge. Packets
//! are encoded by `rumqttc`; the connection is ours, because its event loop flushes once for each
//! manual PUBACK, queues PUBACKs past the end of the connection they belong to, and resumes a
//! session after a restart only by refusing to subscribe in it.

mod accounting;
mod topics;
mod presence;
mod message;
mod ingest;
mod session;
mod bridge;
mod alert_publisher;

pub(crate) use alert_publisher::Publisher;

/// Name of the consumer that publishes alerts.
pub(crate) const ALERTS_OUT: &str = Publisher::NAME;

pub use accounting::{Accounting, Snapshot, State};
pub use bridge::{Bridge, HELD_BYTES};
pub use topics::{FILTERS, listen, narrows};
