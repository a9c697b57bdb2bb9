//! The bus: NATS with the JetStream stream `EVENTS` and the subject `log.head`. It carries copies
//! of the log and can be wiped at any time.

pub(crate) mod subjects;
pub(crate) mod owner;
pub(crate) mod error;
pub(crate) mod access;
pub(crate) mod claim;
pub(crate) mod connection;
pub(crate) mod event_stream;
pub(crate) mod message;
pub(crate) mod replay;

pub(crate) use claim::Claim;
pub(crate) use connection::Bus;
pub(crate) use error::BusError;
pub(crate) use event_stream::{DUPLICATE_WINDOW, is_limited, is_usable};
pub(crate) use owner::Owner;
