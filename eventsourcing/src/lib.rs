//! The vocabulary of event sourcing: events and their stored form, streams, positions, deciders,
//! facts, rejections, and helpers for tests of all of them.
//!
//! The crate performs no I/O, reads no clock and knows no business context. `domain` writes its
//! contexts in these words; `eventstore` stores them.

pub mod event;
pub mod decider;
pub mod rejection;
pub mod context;
pub mod fact;
mod tagged;
pub mod given;

pub use context::Context;
pub use decider::{Decider, Decision};
pub use event::{Event, Metadata, Position, Recorded, StreamId, Version};
pub use rejection::{Kind, Reject};
