//! Commands that arrive over NATS.

pub mod intake;
