//! The business, and nothing else: what may happen, and what it means that it happened.
//!
//! Nothing here performs I/O, reads a clock or draws a random number; times and ids arrive on the
//! command. That is what lets the log be played again, years later, to the same end.
//!
//! Reading order: the words every context shares come first, then the contexts themselves.

pub mod event;
pub mod decider;
pub mod rejection;
pub mod actor;
pub mod context;
mod fact;
mod span;
mod tagged;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod pinned;
#[cfg(test)]
mod spec;

pub mod alerts;
pub mod documents;
pub mod host;
pub mod orders;
pub mod page_views;
pub mod projects;
pub mod telemetry;
pub mod users;
pub mod works;

pub use actor::{Actor, Role};
pub use context::{CONTEXTS, Context};
pub use decider::{Decider, Decision};
pub use event::{Event, Metadata, Position, Recorded, StreamId, Version};
pub use rejection::{Kind, Reject};
pub use span::{InvalidSpan, Span};
