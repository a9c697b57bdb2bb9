//! Business contexts: a name and the stream categories, events and deciders that belong to it.

use crate::decider::AnyDecider;

/// A business context, as one constant of its module describes it.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Name of the context: stem of its files in every crate and second token of its NATS subjects.
    pub name: &'static str,
    /// Stream categories (the part of a stream id before the first `-`).
    pub categories: &'static [&'static str],
    /// Event sets of the context: every event type with the schema version written today.
    pub events: &'static [&'static [(&'static str, i16)]],
    /// Deciders of the context's streams. Streams of facts have none.
    pub deciders: &'static [AnyDecider],
}

impl Context {
    /// The decider of streams of `category`, if the context has one.
    pub fn decider(&self, category: &str) -> Option<AnyDecider> {
        self.deciders.iter().find(|decider| decider.category == category).copied()
    }
}
