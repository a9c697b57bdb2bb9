//! The system as its users meet it: real Postgres, real NATS, real Mosquitto, the real executable.

mod telemetry;
mod works;
mod bus;
mod http;
mod poison;
mod faults;
mod cli;
mod architecture;
