//! The business, and nothing else: what may happen, and what it means that it happened.
//!
//! Nothing here performs I/O, reads a clock or draws a random number; times and ids arrive on the
//! command. That is what lets the log be played again, years later, to the same end.
//!
//! Reading order: the words every context shares come first, then the contexts themselves.

pub mod actor;
mod span;
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
pub use span::{InvalidSpan, Span};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;

/// Every business context, in alphabetical order: the one list. A context that is not in it has no
/// subject on the bus, no filter in the feed and no golden files.
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

/// Returns the context that a stream category belongs to.
pub fn context_of(category: &str) -> Option<&'static Context> {
    CONTEXTS.iter().find(|context| context.categories.contains(&category))
}

/// Returns the context of this name.
pub fn context_named(name: &str) -> Option<&'static Context> {
    CONTEXTS.iter().find(|context| context.name == name)
}

/// Returns the decider of the streams of `category`. Streams of facts have none.
pub fn decider_of(category: &str) -> Option<AnyDecider> {
    context_of(category)?.decider(category)
}
