//! The whole system for one test: a database of its own on a real Postgres, a NATS server and a
//! Mosquitto of its own, and the executable in as many processes as the test wants. Tests wait on
//! positions and on what processes say, never on time.

#![allow(clippy::print_stderr, reason = "what processes say helps when a test fails")]
#![allow(clippy::disallowed_methods, reason = "there is no role whose tracker would wait")]

mod load;
mod process;
mod publish;
mod system;

pub use load::Load;
pub use process::{Process, tributary};
pub use publish::Listener;
pub use system::{Bridge, Caller, DEADLINE, Options, System, asked_for, eventually, free_port};
