//! Commands received over NATS.

pub mod intake;
