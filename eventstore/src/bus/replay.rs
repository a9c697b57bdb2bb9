//! An event that is told again: the message it was, under a subject of its own and with an id that
//! the bus does not know, so that it is neither taken for the first telling nor swallowed as its
//! repetition.

use async_nats::HeaderMap;
use bytes::Bytes;
use eventsourcing::Position;

use crate::bus::message::{self, PublishContext};
use crate::raw::RawEvent;

/// Names the run of `tributary replay` a message comes from. The messages of the relay have none.
pub const REPLAY_HEADER: &str = "Tributary-Replay";

/// What says where a message stands in the stream `EVENTS`, where this one does not stand.
const STREAM_HEADERS: [&str; 5] = [
    "Tributary-Previous",
    "Tributary-Epoch",
    "Nats-Msg-Id",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Msg-Id",
];

/// A message, ready to be published.
#[derive(Debug)]
pub struct ReplayMessage {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Tells `event` of `context` again under `prefix`, in the run of this name; without body and
/// metadata if they do not fit.
pub fn replay_message(
    event: RawEvent,
    context: &'static str,
    prefix: &str,
    run: &str,
    max_payload: usize,
) -> ReplayMessage {
    let publish_context = PublishContext {
        context,
        previous: Position::START,
        epoch: 0,
        expected_last_sequence: 0,
        expected_last_id: None,
    };
    let id = format!("{run}-{}", event.position);
    let first = message::encode(event, &publish_context, max_payload);
    let mut headers = HeaderMap::new();
    for (name, values) in first.headers.iter() {
        let text = name.to_string();
        if !STREAM_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    headers.insert("Nats-Msg-Id", id);
    headers.insert(REPLAY_HEADER, run);
    let rest = first.subject.strip_prefix("events").unwrap_or(&first.subject);
    ReplayMessage { subject: format!("{prefix}{rest}"), headers, body: first.body }
}
