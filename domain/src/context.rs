//! The one list of business contexts. A context that is not in it does not exist: no subject on
//! the bus, no filter in the feed, no golden files.

use crate::decider::AnyDecider;

/// A business context: its name on the bus and the stream categories that belong to it.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Stem of its files in every crate and second token of its NATS subjects.
    pub name: &'static str,
    /// Stream categories (the part of a stream id before the first `-`).
    pub categories: &'static [&'static str],
    /// Its event sets: every event type with the schema version written today.
    pub events: &'static [&'static [(&'static str, i16)]],
    /// What decides for its streams; facts have nobody.
    pub deciders: &'static [AnyDecider],
}

/// Every context there is, in alphabetical order.
pub const CONTEXTS: &[Context] = &[
    crate::alerts::CONTEXT,
    crate::documents::CONTEXT,
    crate::host::CONTEXT,
    crate::orders::CONTEXT,
    crate::page_views::CONTEXT,
    crate::projects::CONTEXT,
    crate::telemetry::CONTEXT,
    crate::users::CONTEXT,
    crate::works::CONTEXT,
];

impl Context {
    /// The context a stream category belongs to.
    pub fn of_category(category: &str) -> Option<&'static Self> {
        CONTEXTS.iter().find(|context| context.categories.contains(&category))
    }

    /// What decides for streams of `category`.
    pub fn decider(category: &str) -> Option<AnyDecider> {
        let mut deciders = CONTEXTS.iter().flat_map(|context| context.deciders);
        deciders.find(|decider| decider.category == category).copied()
    }

    /// The context of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CONTEXTS.iter().find(|context| context.name == name)
    }
}
