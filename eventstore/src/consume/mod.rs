//! Consumers: everything that follows the log with a checkpoint.
//!
//! - [`run`] runs a [`Consumer`]: one runtime for projections, process managers, evaluators and
//!   publishers. It keeps the checkpoint and the heartbeat, restarts the consumer after an error or
//!   a panic, parks the streams whose events are corrupt, and waits in front of an event that only a
//!   newer build knows.
//! - [`Runner`] is the part of the runtime that handles batches, for those that read the log
//!   themselves, as a rebuild does.
//! - [`parked`], [`snapshot`], [`deadline`], leases and checkpoints are what consumers store in the log's schema.
//! - The relay is a consumer whose checkpoint is the end of the JetStream stream.

mod backoff;
pub(crate) mod checkpoint;
mod consumer;
pub mod deadline;
mod failed;
pub(crate) mod head_announcer;
pub(crate) mod lease;
mod newer;
pub mod parked;
pub(crate) mod relay;
mod retry;
mod runner;
pub mod snapshot;
mod supervisor;

pub use checkpoint::Start;
pub use consumer::{ConsumeError, Consumer, Session, StreamReader};
pub use failed::{Failed, single_event};
pub use runner::Runner;
pub use supervisor::run;
