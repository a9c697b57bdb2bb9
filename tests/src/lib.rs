//! The whole system for integration tests: a database of its own on a real Postgres, a NATS server
//! and a Mosquitto of its own, and the executable in as many processes as a test starts. Tests wait
//! for positions, states and log lines, never for a time.

#![allow(missing_docs, reason = "only the tests call this crate")]
#![allow(clippy::print_stderr, reason = "the log of a process helps when a test fails")]
#![allow(clippy::disallowed_methods, reason = "tests have no role whose tasks shutdown waits for")]

mod caller;
mod certificates;
mod end_check;
mod load;
mod metrics;
mod mqtt;
mod process;
mod prometheus;
mod system;
mod wait;

pub use caller::{Caller, successful};
pub use certificates::{Authority, Certificate};
pub use load::Load;
pub use metrics::BridgeCounters;
pub use mqtt::Subscriber;
pub use process::{Process, tributary};
pub use prometheus::Prometheus;
pub use system::{Options, System};
pub use wait::{DEADLINE, eventually, from_environment};
