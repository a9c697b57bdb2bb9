//! The event store on real servers: append, crash, feed, relay and leases.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests"
)]

mod world;

mod append;
mod crash;
mod lost_tail;
mod relay;
mod feed;
mod foreign;
mod lease;
mod consume;
