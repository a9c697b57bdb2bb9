//! How the relay learns which context a stream belongs to.

/// Returns the context of a stream category; the event store itself knows none.
pub type ContextOf = fn(&str) -> &'static str;
