//! Replay: an event as a message with its own subject and message id, so that JetStream does not
//! deduplicate it against the relay's message.

use async_nats::HeaderMap;
use bytes::Bytes;
use eventsourcing::Position;
use uuid::Uuid;

use crate::bus::message::{self, PublishContext};
use crate::bus::owner::Owner;
use crate::raw::RawEvent;

/// Header with the name of the run of `tributary replay` that published a message. Messages of the
/// relay do not have it.
pub const REPLAY_HEADER: &str = "Tributary-Replay";

/// Headers that relate a message to its neighbours in the stream `EVENTS`; a replayed message has
/// none there.
const STREAM_HEADERS: [&str; 5] = [
    "Tributary-Previous",
    "Tributary-Epoch",
    "Nats-Msg-Id",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Last-Msg-Id",
];

/// A message to publish.
#[derive(Debug)]
pub struct ReplayMessage {
    /// `{prefix}.{context}.{category}.{key}.{event_type}`.
    pub subject: String,
    /// The relay's headers without those that refer to the stream, a message id of the run, and
    /// [`REPLAY_HEADER`].
    pub headers: HeaderMap,
    /// JSON of the event; empty if it is too large for a message.
    pub body: Bytes,
}

/// Creates the message that replays `event` of `context` under the subject `prefix`, in the run
/// named `run`, from the log of `deployment`. Omits body and metadata if the message would exceed `max_payload` bytes.
pub fn replay_message(
    event: RawEvent,
    context: &'static str,
    prefix: &str,
    run: &str,
    deployment: Uuid,
    max_payload: usize,
) -> ReplayMessage {
    let publish = PublishContext {
        context,
        previous: Position::START,
        owner: Owner { deployment, epoch: 0 },
        expected_last_sequence: 0,
        expected_last_id: None,
    };
    let id = format!("{run}-{}", event.position);
    let first = message::encode(event, &publish, max_payload);
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
