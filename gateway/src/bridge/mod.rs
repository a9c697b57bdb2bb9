//! The MQTT bridge: messages of devices become events, and are acknowledged once committed.
//!
//! - A PUBACK leaves after the commit, never before, and in the order of receipt [MQTT-4.6.0]. An
//!   unacknowledged message is redelivered; ids derived from the message make it a duplicate.
//! - A message that cannot be decoded is recorded as rejected, with the reason, and then acknowledged.
//! - Everything is bounded: the broker may have [`mqtt::Options::receive_maximum`] messages
//!   unacknowledged, and messages in flight weigh at most [`HELD_BYTES`].
//!
//! A connection is two tasks that never wait for each other, the reader of `session` and the writer
//! of [`mqtt::Writer::run`]. A third, `ingest`, appends what the reader took and sends the PUBACKs.

mod error;
mod accounting;
mod topics;
mod presence;
mod message;
mod mapping;
mod subscriptions;
mod decoder;
mod explain;
mod ingest;
mod session;
mod run;
mod alert_message;
mod alert_publisher;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod corpus;

pub(crate) use alert_publisher::Publisher;

/// Name of the consumer that publishes alerts.
pub(crate) const ALERTS_OUT: &str = <Publisher as eventstore::consume::Consumer>::NAME;

pub use accounting::{Accounting, Snapshot, State};
pub(crate) use alert_message::AlertMessage;
pub use decoder::Decoder;
pub use error::Error;
pub use explain::{Explanation, explain};
pub use mapping::{InvalidMappings, Mappings};
pub use message::Delivery;
pub(crate) use presence::Status;
pub use run::{Bridge, HELD_BYTES};
pub use subscriptions::{listen, narrows};
pub use topics::FILTERS;
