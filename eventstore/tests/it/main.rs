//! The event store on real servers: the contract of append, and the bus.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests"
)]

mod servers;
mod world;

mod append;
mod crash;
mod relay;
mod feed;
mod lease;
mod consume;
