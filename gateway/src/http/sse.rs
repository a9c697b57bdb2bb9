//! Server-sent events. Each listener has a subscription of its own and is sent what it asks for,
//! so one that reads slowly holds up nobody, and nothing gathers for it in memory.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use eventsourcing::Position;
use eventstore::{RawEvent, Subscription};
use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::events::EventRow;
use super::problem::Problem;

/// Events fetched for a listener at once.
const BATCH: usize = 100;
/// A listener hears something at least this often, so that it can tell silence from a lost line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Wait before the log is asked again after it could not be reached.
const RETRY: Duration = Duration::from_secs(1);

/// `Last-Event-ID`: the position the listener has seen.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position
        .filter(|position| *position >= 0)
        .map(|position| Some(Position(position)))
        .ok_or_else(|| Problem::parameter("Last-Event-ID", "not a position of the log"))
}

/// Sends what `subscription` brings until the listener leaves, or `shutdown`.
pub(super) fn respond(subscription: Subscription, shutdown: CancellationToken) -> Response {
    let events = events(subscription).take_until(shutdown.cancelled_owned());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies must not gather what is to arrive at once.
    let unbuffered = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", unbuffered);
    response
}

fn events(subscription: Subscription) -> impl Stream<Item = Result<Event, Infallible>> {
    let batches = stream::unfold(subscription, |mut subscription| async move {
        loop {
            match subscription.next(BATCH).await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => return Some((batch.events, subscription)),
                Err(error) => {
                    tracing::debug!(%error, "a listener waits for the log");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    });
    batches.flat_map(|batch| stream::iter(batch).filter_map(|event| async move { write(&event) }))
}

fn write(event: &RawEvent) -> Option<Result<Event, Infallible>> {
    // An event that is not JSON cannot be in the log; if one were, it would be logged by `new`.
    let row = EventRow::new(event).ok()?;
    let written =
        Event::default().id(event.position.to_string()).event(&*event.event_type).json_data(row);
    written.ok().map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_comes_back_at_a_position() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", text.parse().unwrap());
            last_event_id(&headers)
        };
        assert_eq!(read("7").unwrap(), Some(Position(7)));
        assert!(read("").is_err() && read("-7").is_err() && read("x").is_err());
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
    }
}
