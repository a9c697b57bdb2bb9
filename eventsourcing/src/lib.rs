//! The vocabulary of event sourcing: events and their encoding, streams, positions, deciders, facts,
//! rejections, and test helpers for all of them.
//!
//! The crate performs no I/O outside the test helper [`golden`], reads no clock and knows no business
//! context. `domain` writes its contexts with these types; `eventstore` stores their events.

mod stream_id;
pub mod event;
pub mod decider;
pub mod rejection;
pub mod context;
pub mod fact;
pub mod json;
mod tagged;
pub mod given;
pub mod golden;

pub use context::Context;
pub use decider::{Decider, Decision};
pub use event::{Event, Metadata, Position, Recorded, StreamId, Version};
pub use rejection::{Kind, Reject};
