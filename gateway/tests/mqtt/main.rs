//! The bridge against the real Mosquitto and the real Postgres.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "helpers of tests fail the test"
)]

mod proxy;
mod servers;
mod system;

mod acknowledging;
mod connecting;
mod recording;
mod stopping;
