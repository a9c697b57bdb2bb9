//! The MQTT bridge with a real Mosquitto and a real Postgres.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::match_wild_err_arm,
    clippy::format_collect,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and export nothing"
)]

mod proxy;
mod system;

mod acknowledging;
mod connecting;
mod recording;
mod repeated;
mod stopping;
mod versions;
