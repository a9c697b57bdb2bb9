//! A business context: its name and the stream categories, events and deciders that belong to it.

use crate::decider::AnyDecider;

/// A business context (bounded context), described by one constant of its module.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Unique name: the stem of its files in every crate and the second token of its NATS subjects.
    pub name: &'static str,
    /// Stream categories (the part of a stream id before the first `-`).
    pub categories: &'static [&'static str],
    /// Event sets of the context, each with its event types and their current schema versions.
    pub events: &'static [&'static [(&'static str, i16)]],
    /// Deciders of the context's streams. Categories that hold facts have none.
    pub deciders: &'static [AnyDecider],
}

impl Context {
    /// Returns the decider of the streams of `category`, or `None` if the category holds facts or
    /// belongs to another context.
    pub fn decider(&self, category: &str) -> Option<AnyDecider> {
        self.deciders.iter().find(|decider| decider.category == category).copied()
    }
}
