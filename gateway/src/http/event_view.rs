//! Events for the command line, as the feed shows them and no further: what passwords could be
//! guessed from is left out here, too.

use domain::users;
use eventstore::RawEvent;

use super::events::{EventRow, without_secret};

/// The event as one line of JSON; none if it is not JSON, which the log does not take.
pub fn line(event: &RawEvent) -> Option<String> {
    serde_json::to_string(&EventRow::new(event).ok()?).ok()
}

/// The event with its data as it may be shown.
pub fn shown(mut event: RawEvent) -> Option<RawEvent> {
    if users::CONTEXT.categories.contains(&event.stream.category()) {
        event.data = Box::<str>::from(without_secret(&event.data).ok()?);
    }
    Some(event)
}
