//! The bridge against the real Mosquitto and the real Postgres.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::match_wild_err_arm,
    clippy::format_collect,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and nothing here is for others"
)]

mod proxy;
mod servers;
mod system;

mod acknowledging;
mod connecting;
mod recording;
mod stopping;
mod versions;
