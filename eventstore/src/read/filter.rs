//! Which events a reader receives.

use eventsourcing::StreamId;

use crate::raw::RawEvent;

/// Selects events by category, type and stream. An event matches if it matches all three; an empty
/// list matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Categories of streams.
    pub categories: Vec<String>,
    /// Event types.
    pub event_types: Vec<String>,
    /// A single stream.
    pub stream: Option<StreamId>,
}

/// Matches every event.
pub(crate) static ALL: Filter =
    Filter { categories: Vec::new(), event_types: Vec::new(), stream: None };

impl Filter {
    /// Creates a filter for the events of all streams in these categories.
    pub fn categories(categories: &[&str]) -> Self {
        let categories = categories.iter().map(|&category| category.to_owned()).collect();
        Self { categories, ..Self::default() }
    }

    /// Returns whether a read discards events of the log that do not match: no index has them.
    pub(crate) fn scans(&self) -> bool {
        *self != ALL && self.stream.is_none()
    }

    /// Returns whether `event` matches.
    pub fn matches(&self, event: &RawEvent) -> bool {
        let matches =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
        matches(&self.categories, event.stream.category())
            && matches(&self.event_types, &event.event_type)
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
    }
}
