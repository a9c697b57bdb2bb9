//! An MQTT connection of our own, on the packet codec of `rumqttc`: dialing with backoff, TLS, MQTT 5
//! and 3.1.1, and frames read and written in batches, so that PUBACKs can be sent by hand.

mod options;
mod tls;
mod version;
mod v3;
mod frames;
mod refusal;
mod connection;
mod backoff;
mod dialer;

pub use backoff::Backoff;
pub use connection::{BoxedSocket, Connection, Lost};
pub use dialer::Dialer;
pub use frames::{Frame, Frames};
pub use options::{Error, Options};
pub use refusal::Refusal;
pub use version::Version;
