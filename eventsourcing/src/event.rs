//! The words of the log: stream, version, position, event; and the one form events are stored in.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::tagged::Tagged;

/// A set of facts that can happen to one kind of stream.
///
/// Implemented by an enum with `#[serde(tag = "type", content = "data", rename_all =
/// "snake_case")]`; the store splits that form into its columns. Every variant carries data.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Every event type of the set with the schema version written today.
    const TYPES: &'static [(&'static str, i16)];
    /// How older schema versions become today's, one step each.
    const UPCASTS: &'static [Upcast] = &[];
}

/// What a reader of the log understands: one [`Event`] set, or several side by side.
pub trait EventSet: Sized + Send + Sync + 'static {
    /// Reads an event from its stored form, upcasting it to today's schema.
    fn read(event_type: &str, schema_version: i16, data: &str) -> Result<Self, CodecError>;
}

impl<E: Event> EventSet for E {
    fn read(event_type: &str, schema_version: i16, data: &str) -> Result<Self, CodecError> {
        decode(event_type, schema_version, data)
    }
}

/// Several event sets of a context as one enum, for those who read more than one of its streams.
///
/// `eventsourcing::union!(pub enum Event { Product(product::Event), Stock(stock_item::Event) })`
#[macro_export]
macro_rules! union {
    ($(#[$doc:meta])* pub enum $name:ident { $($variant:ident($set:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($variant($set),)+
        }

        impl $crate::event::EventSet for $name {
            fn read(
                event_type: &str,
                schema_version: i16,
                data: &str,
            ) -> Result<Self, $crate::event::CodecError> {
                use $crate::event::{CodecError, Event, decode};
                $(
                    if <$set as Event>::TYPES.iter().any(|(known, _)| *known == event_type) {
                        return decode(event_type, schema_version, data).map(Self::$variant);
                    }
                )+
                Err(CodecError::UnknownType(event_type.into()))
            }
        }
    };
}

/// One step from a schema version of an event type to the next. Events are never rewritten; they
/// are brought up to date each time they are read.
#[derive(Debug, Clone, Copy)]
pub struct Upcast {
    pub event_type: &'static str,
    /// The version this step starts from; it ends at `from + 1`.
    pub from: i16,
    pub apply: fn(&mut Map<String, Value>),
}

/// A place in the log. The first event has position 1; 0 is before it. Positions have no gaps and
/// follow the order of commits.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many events a stream holds: its first event makes it version 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub i64);

impl Version {
    /// A stream that does not exist yet.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a stream: `category-key`. The category holds no `-`; the key may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId(Box<str>);

impl StreamId {
    /// Longest stream id in bytes: it stands in two indexes of the log.
    pub const MAX_BYTES: usize = 256;

    /// The stream of `key` in a category known at compile time.
    pub fn new(category: &'static str, key: impl fmt::Display) -> Self {
        Self(format!("{category}-{key}").into())
    }

    /// Reads a stream id that came from outside.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamId> {
        let well_formed = text
            .split_once('-')
            .is_some_and(|(category, key)| !category.is_empty() && !key.is_empty());
        if well_formed && text.len() <= Self::MAX_BYTES && !text.contains('\0') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidStreamId)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for StreamId {
    type Error = InvalidStreamId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.0.into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream id is `category-key`, at most {} bytes", StreamId::MAX_BYTES)]
pub struct InvalidStreamId;

/// What surrounds an event: who asked, and what it follows from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Shared by everything that follows from one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// The subject of the token, or the name of the process that acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// W3C trace context of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded<E> {
    pub position: Position,
    pub id: Uuid,
    pub stream: StreamId,
    pub version: Version,
    /// When the store wrote it: its own clock, microseconds, never decreasing.
    pub recorded_at: DateTime<Utc>,
    pub metadata: Metadata,
    pub event: E,
}

impl<E> Recorded<E> {
    /// What happened, apart from when and where it was recorded.
    pub fn split(self) -> (Recorded<()>, E) {
        let Self { position, id, stream, version, recorded_at, metadata, event } = self;
        (Recorded { position, id, stream, version, recorded_at, metadata, event: () }, event)
    }
}

/// An event in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub event_type: Box<str>,
    pub schema_version: i16,
    /// JSON text.
    pub data: Box<str>,
}

/// Brings an event into its stored form.
pub fn encode<E: Event>(event: &E) -> Result<Encoded, CodecError> {
    let tagged = serde_json::to_string(event).map_err(CodecError::Json)?;
    // Adjacent tagging always writes `{"type":"…","data":…}` in this order.
    let rest = tagged.strip_prefix(r#"{"type":""#).ok_or(CodecError::NotTagged)?;
    let (event_type, rest) = rest.split_once(r#"","data":"#).ok_or(CodecError::NotTagged)?;
    let data = rest.strip_suffix('}').ok_or(CodecError::NotTagged)?;
    let schema_version = current_version::<E>(event_type)?;
    Ok(Encoded { event_type: event_type.into(), schema_version, data: data.into() })
}

/// Reads an event from its stored form, upcasting it to today's schema.
pub fn decode<E: Event>(
    event_type: &str,
    schema_version: i16,
    data: &str,
) -> Result<E, CodecError> {
    let current = current_version::<E>(event_type)?;
    if schema_version == current {
        return untag(event_type, data);
    }
    if schema_version > current {
        return Err(CodecError::NewerSchema { event_type: event_type.into(), schema_version });
    }
    let mut fields: Map<String, Value> = serde_json::from_str(data).map_err(CodecError::Json)?;
    for from in schema_version..current {
        let step = E::UPCASTS
            .iter()
            .find(|upcast| upcast.event_type == event_type && upcast.from == from)
            .ok_or_else(|| CodecError::NoUpcast { event_type: event_type.into(), from })?;
        (step.apply)(&mut fields);
    }
    untag(event_type, &Value::Object(fields).to_string())
}

fn untag<E: Event>(event_type: &str, data: &str) -> Result<E, CodecError> {
    E::deserialize(Tagged::new(event_type, data)).map_err(CodecError::Json)
}

fn current_version<E: Event>(event_type: &str) -> Result<i16, CodecError> {
    E::TYPES
        .iter()
        .find(|(name, _)| *name == event_type)
        .map(|(_, version)| *version)
        .ok_or_else(|| CodecError::UnknownType(event_type.into()))
}

/// Why an event could not be brought into, or read from, its stored form.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the event is not valid JSON of its type")]
    Json(#[source] serde_json::Error),
    #[error("the event set is not tagged with `type` and `data`")]
    NotTagged,
    #[error("event type `{0}` is not known to this reader")]
    UnknownType(Box<str>),
    #[error("event type `{event_type}` has schema version {schema_version}, newer than this build")]
    NewerSchema { event_type: Box<str>, schema_version: i16 },
    #[error("event type `{event_type}` has no upcast from schema version {from}")]
    NoUpcast { event_type: Box<str>, from: i16 },
}
