//! The business contexts: their events, deciders, facts and value types.
//!
//! The crate is pure: it performs no I/O, reads no clock and draws no random numbers; times and ids
//! arrive on the command. Folding the same log therefore always yields the same state.
//!
//! Shared types come first, then one module for each context. Contexts use nothing of each other but
//! their `published` modules.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod actor;
pub mod name;
mod field_path;
mod span;
mod time_window;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod pinned;

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
pub use field_path::{Field, FieldPath, InvalidPath, each_field};
pub use name::{InvalidName, Name};
pub use span::{InvalidSpan, Span};
pub use time_window::{OutsideWindow, TimeWindow};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;

/// Every business context, in alphabetical order. A context that is missing here has no subjects on
/// the bus, no filter in the feed and no golden files.
pub const CONTEXTS: &[Context] = &[
    alerts::CONTEXT,
    documents::CONTEXT,
    host::CONTEXT,
    orders::CONTEXT,
    page_views::CONTEXT,
    projects::CONTEXT,
    telemetry::CONTEXT,
    users::CONTEXT,
    works::CONTEXT,
];

/// Returns the context of a stream category, or `None` if the category is unknown.
pub fn context_of(category: &str) -> Option<&'static Context> {
    CONTEXTS.iter().find(|context| context.categories.contains(&category))
}

/// Returns the context named `name`, or `None` if there is none.
pub fn context_named(name: &str) -> Option<&'static Context> {
    CONTEXTS.iter().find(|context| context.name == name)
}

/// Returns the decider of the streams of `category`, or `None` if the category holds facts or is
/// unknown.
pub fn decider_of(category: &str) -> Option<AnyDecider> {
    context_of(category)?.decider(category)
}
