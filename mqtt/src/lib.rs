//! An MQTT client with manual acknowledgements, for MQTT 5 and 3.1.1.
//!
//! A consumer that stores messages must acknowledge late, in the order of receipt, and only on the
//! connection that delivered them, at tens of thousands a second. Client libraries do not offer that:
//! the event loop of `rumqttc` flushes once for each manual PUBACK, and sends PUBACKs queued for one
//! connection on the next, where packet ids have a new meaning. So this crate takes the packet codec
//! of `rumqttc` and holds the connection itself; see `docs/adr/0008`.
//!
//! - A [`Dialer`] connects, over TCP or TLS, and paces reconnects with backoff.
//! - A [`Client`] is one connection. Its owner drives it by awaiting [`Client::next`]; there is no
//!   background task. Reading and writing never wait for each other, and what is encoded meanwhile
//!   leaves with one flush.
//! - [`Client::split`] makes a [`Reader`] and a [`Writer`] for two tasks.
//! - A received [`Message`] at `QoS` 1 carries an [`Ack`]; a published one has a tag, which returns
//!   with its acknowledgement.
//!
//! Everything is bounded: unacknowledged messages in either direction by
//! [`Options::receive_maximum`] and [`Options::publish_window`], the bytes held of one packet by
//! [`Options::max_packet_bytes`], silence by [`Options::keep_alive`].
mod options;
mod address;
mod tls;
mod version;
mod v3;
mod error;
mod refusal;
mod frames;
mod message;
mod window;
mod connect;
mod reader;
mod writer;
mod client;
mod backoff;
mod dialer;

pub use backoff::Backoff;
pub use client::Client;
pub use connect::{BoxedSocket, Socket};
pub use dialer::Dialer;
pub use error::{ConnectionError, OptionsError};
pub use message::{Ack, Event, Message, Subscribed};
pub use options::Options;
pub use reader::{Closing, Reader};
pub use refusal::Refusal;
pub use tls::TlsError;
pub use version::Version;
pub use writer::Writer;
