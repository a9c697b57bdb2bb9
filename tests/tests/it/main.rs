//! The system as its users meet it: real Postgres, real NATS, real Mosquitto, the real executable.

#![allow(clippy::format_collect, reason = "a test may allocate")]

mod telemetry;
mod works;
mod bus;
mod http;
mod poison;
mod faults;
mod cli;
mod architecture;
