//! Server-sent events. Each connection has a subscription of its own and is sent what it can take,
//! so a slow client delays no other and nothing queues for it in memory. A stream ends when the token
//! of its caller expires; the client resumes with the next token, behind the last position it received.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use eventstore::Subscription;
use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::audience::Audience;
use super::slots::Slot;

/// The last comment of a stream whose token has expired.
const EXPIRED: &str = "the token has expired; reconnect with a new one and Last-Event-ID";
/// Events read for a client at a time.
const BATCH: usize = 100;
/// Time between two keep-alive comments, by which a client notices a lost connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Wait before the log is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Sends the events of `subscription` that `audience` may see until the client disconnects, until the
/// token expires in `valid_for`, which a comment says, or until `shutdown`. Then `slot` is free again.
pub(super) fn respond(
    subscription: Subscription,
    audience: Audience,
    slot: Slot,
    valid_for: Duration,
    shutdown: CancellationToken,
) -> Response {
    send(events(subscription, audience, slot), valid_for, shutdown)
}

/// Sends `events` until the client disconnects, until the token expires in `valid_for`, which a comment
/// says, or until `shutdown`.
pub(super) fn send(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
    valid_for: Duration,
    shutdown: CancellationToken,
) -> Response {
    let events = events.take_until(shutdown.cancelled_owned());
    let events = until_expiry(events, valid_for);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Keeps nginx from buffering the stream.
    let unbuffered = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", unbuffered);
    response
}

/// The items of `events` for `valid_for`, and then the comment [`EXPIRED`].
fn until_expiry<S>(
    events: S,
    valid_for: Duration,
) -> impl Stream<Item = Result<Event, Infallible>> + use<S>
where
    S: Stream<Item = Result<Event, Infallible>>,
{
    let last = || [Some(Ok(Event::default().comment(EXPIRED))), None];
    let expiry = stream::once(tokio::time::sleep(valid_for));
    let expiry = expiry.flat_map(move |()| stream::iter(last()));
    // `select` goes on with the expiry if the events end, at the shutdown: `None` ends both.
    let events = events.map(Some).chain(stream::iter([None]));
    stream::select(events, expiry).take_while(|item| ready(item.is_some())).filter_map(ready)
}

fn events(
    subscription: Subscription,
    audience: Audience,
    slot: Slot,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let audience = Arc::new(audience);
    let batches = stream::unfold((subscription, slot), |(mut subscription, slot)| async move {
        loop {
            match subscription.next(BATCH).await {
                Ok(batch) if batch.events.is_empty() => {}
                Ok(batch) => return Some((batch.events, (subscription, slot))),
                Err(error) => {
                    tracing::debug!(%error, "event stream failed to read the log, retrying");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    });
    batches.flat_map(move |batch| {
        let audience = Arc::clone(&audience);
        stream::iter(batch).filter_map(move |event| {
            let audience = Arc::clone(&audience);
            async move { audience.show(&event).await }
        })
    })
}
