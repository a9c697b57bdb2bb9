//! Encodes an event as a NATS message: CloudEvents in binary mode, with headers for the other columns
//! of the log, so that a subscriber gets the complete row. No message is decoded to an event: our own
//! consumers read events from Postgres.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use chrono::SecondsFormat;
use eventsourcing::{Position, StreamId};
use uuid::Uuid;

use crate::bus::owner::Owner;
use crate::raw::RawEvent;

macro_rules! headers {
    ($($name:ident = $text:literal;)+) => {
        $(static $name: HeaderName = HeaderName::from_static($text);)+
    };
}

headers! {
    CONTENT_TYPE = "content-type";
    SPEC_VERSION = "ce-specversion";
    ID = "ce-id";
    TYPE = "ce-type";
    SOURCE = "ce-source";
    SUBJECT = "ce-subject";
    TIME = "ce-time";
    TRACEPARENT = "ce-traceparent";
    POSITION = "Tributary-Position";
    PREVIOUS = "Tributary-Previous";
    VERSION = "Tributary-Version";
    DEPLOYMENT = "Tributary-Deployment";
    EPOCH = "Tributary-Epoch";
    SCHEMA_VERSION = "Tributary-Schema-Version";
    METADATA = "Tributary-Metadata";
    BODY = "Tributary-Body";
    MESSAGE_ID = "Nats-Msg-Id";
    EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence";
    EXPECTED_LAST_ID = "Nats-Expected-Last-Msg-Id";
}

/// Value of `Tributary-Body` if the event is too large for a message and must be read from the log.
const OMITTED: &str = "omitted";

/// Upper estimate of the bytes of header names, punctuation and values of fixed length.
const FIXED_BYTES: usize = 896;

/// A message to publish.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The context, epoch and order that a message is published with.
pub(crate) struct PublishContext {
    /// Context of the event's category.
    pub(crate) context: &'static str,
    /// Position of the previous event in the same context; 0 if there is none.
    pub(crate) previous: Position,
    /// Deployment and epoch of the log. The epoch grows when a backup is restored, after which
    /// history may have forked.
    pub(crate) owner: Owner,
    /// The server refuses the message unless this is the stream's last sequence.
    pub(crate) expected_last_sequence: u64,
    /// The server refuses the message unless this event is the stream's last message. After
    /// messages of other publishers, a later message under way could otherwise match the expected
    /// sequence and overtake refused ones.
    pub(crate) expected_last_id: Option<Uuid>,
}

/// Encodes an event. Omits body and metadata if the message would exceed `max_payload` bytes.
pub(crate) fn encode(event: RawEvent, publish: &PublishContext, max_payload: usize) -> Outgoing {
    let subject = subject(publish.context, &event.stream, &event.event_type);
    let stream = escape(event.stream.as_str(), b"\"%");
    let event_type = escape(&event.event_type, b"\"%");
    let id = event.id.hyphenated().to_string();
    let bytes = FIXED_BYTES
        + publish.context.len()
        + stream.len()
        + event_type.len()
        + event.metadata.len() * 2 // The trace context is sent twice.
        + event.data.len();
    let whole = bytes <= max_payload && fits_a_header(&event.metadata);

    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE.clone(), "application/json");
    headers.insert(SPEC_VERSION.clone(), "1.0");
    headers.insert(ID.clone(), id.as_str());
    headers.insert(TYPE.clone(), &*event_type);
    headers.insert(SOURCE.clone(), format!("/tributary/{}", publish.context));
    headers.insert(SUBJECT.clone(), &*stream);
    let time = event.recorded_at;
    headers.insert(TIME.clone(), time.to_rfc3339_opts(SecondsFormat::Micros, true));
    headers.insert(POSITION.clone(), event.position.to_string());
    headers.insert(PREVIOUS.clone(), publish.previous.to_string());
    headers.insert(VERSION.clone(), event.version.to_string());
    let deployment = publish.owner.deployment.hyphenated().to_string();
    headers.insert(DEPLOYMENT.clone(), deployment);
    headers.insert(EPOCH.clone(), publish.owner.epoch.to_string());
    headers.insert(SCHEMA_VERSION.clone(), event.schema_version.to_string());
    headers.insert(MESSAGE_ID.clone(), id);
    let expected = publish.expected_last_sequence.to_string();
    headers.insert(EXPECTED_LAST_SEQUENCE.clone(), expected);
    if let Some(id) = publish.expected_last_id {
        headers.insert(EXPECTED_LAST_ID.clone(), id.hyphenated().to_string());
    }
    if whole {
        if event.metadata.contains("traceparent")
            && let Ok(metadata) = event.metadata()
            && let Some(traceparent) = &metadata.traceparent
        {
            headers.insert(TRACEPARENT.clone(), &*escape(traceparent, b"\"%"));
        }
        headers.insert(METADATA.clone(), &*event.metadata);
    } else {
        headers.insert(BODY.clone(), OMITTED);
    }
    let body = if whole { Bytes::from(event.data.into_boxed_bytes()) } else { Bytes::new() };
    Outgoing { subject, headers, body }
}

/// Returns `events.{context}.{category}.{key}.{event_type}`, always five tokens.
fn subject(context: &str, stream: &StreamId, event_type: &str) -> String {
    let tokens = [stream.category(), stream.key(), event_type].map(token);
    let [category, key, event_type] = tokens;
    format!("events.{context}.{category}.{key}.{event_type}")
}

/// Returns text as one token of a subject.
fn token(text: &str) -> Cow<'_, str> {
    match text {
        "" => Cow::Borrowed("%"),
        text => escape(text, b".*>%"),
    }
}

/// Percent-encodes everything but visible ASCII, and the `special` characters.
fn escape<'a>(text: &'a str, special: &[u8]) -> Cow<'a, str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !special.contains(&byte);
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(hex_digit(byte >> 4));
            escaped.push(hex_digit(byte & 15));
        }
    }
    Cow::Owned(escaped)
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble)])
}

/// Returns whether text survives as a header value: header lines are trimmed and end at a line
/// break.
fn fits_a_header(text: &str) -> bool {
    !text.contains(['\r', '\n']) && text.trim() == text
}

/// Returns the position of the event in a message; none if the message holds no event.
pub(crate) fn position(headers: &HeaderMap) -> Option<Position> {
    parse(headers, &POSITION).map(Position)
}

/// Returns the id of the event in a message.
pub(crate) fn event_id(headers: &HeaderMap) -> Option<Uuid> {
    parse(headers, &ID)
}

fn parse<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
    headers.get(name.clone())?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use eventsourcing::Version;

    use super::*;

    fn event(stream: &str, metadata: &str, data: &str) -> RawEvent {
        RawEvent {
            position: Position(42),
            id: Uuid::from_u128(7),
            stream: StreamId::parse(stream).expect("a stream id"),
            version: Version(3),
            event_type: "thing_happened".into(),
            schema_version: 2,
            data: data.into(),
            metadata: metadata.into(),
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_000_001).expect("a time"),
        }
    }

    fn encoded(event: RawEvent, max_payload: usize) -> Outgoing {
        let publish = PublishContext {
            context: "things",
            previous: Position(41),
            expected_last_sequence: 40,
            owner: Owner { deployment: Uuid::from_u128(5), epoch: 1 },
            expected_last_id: Some(Uuid::from_u128(6)),
        };
        encode(event, &publish, max_payload)
    }

    #[test]
    fn a_message_holds_the_exact_data_and_metadata() {
        let metadata = r#"{"actor": "Zoë", "traceparent":"00-1-2-01"}"#;
        let sent = encoded(event("thing-a b.c*>%é\n", metadata, "{ \"a\" :\n1.0 }"), 1 << 20);
        assert_eq!(&*sent.body, b"{ \"a\" :\n1.0 }");
        let header = |name: &HeaderName| sent.headers.get(name.clone()).unwrap().as_str();
        assert_eq!(header(&METADATA), metadata);
        assert_eq!(header(&SUBJECT), "thing-a%20b.c*>%25%C3%A9%0A");
        assert_eq!(
            (position(&sent.headers), event_id(&sent.headers)),
            (Some(Position(42)), Some(Uuid::from_u128(7)))
        );
    }

    #[test]
    fn the_body_of_an_event_too_large_for_a_message_is_omitted() {
        for (metadata, data) in [("{}", "x".repeat(4096)), ("{\n}", "{}".to_owned())] {
            let sent = encoded(event("thing-1", metadata, &data), 4096);
            assert!(sent.body.is_empty());
            assert_eq!(sent.headers.get(BODY.clone()).unwrap().as_str(), OMITTED);
            assert!(sent.headers.get(METADATA.clone()).is_none());
        }
    }

    #[test]
    fn a_subject_has_five_tokens_for_any_key() {
        let stream = StreamId::parse("thing-a.b *>%\t-é").expect("a stream id");
        assert_eq!(
            subject("things", &stream, "thing_happened"),
            "events.things.thing.a%2Eb%20%2A%3E%25%09-%C3%A9.thing_happened"
        );
        assert_eq!(token(""), "%");
    }
}
