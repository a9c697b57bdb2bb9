//! The whole system for one test: a database of its own on a real Postgres, a NATS server and a
//! Mosquitto of its own, and the executable in as many processes as the test wants. Tests wait on
//! positions and on what processes say, never on time.

mod process;
mod publish;
mod system;

pub use process::{Process, tributary};
pub use system::{DEADLINE, Options, System, eventually};
