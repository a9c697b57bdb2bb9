//! Streams, versions, positions and events, and the encoding of events in the log.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::json;
use crate::tagged::Tagged;

pub use crate::stream_id::{InvalidStreamId, StreamId};

/// The event set of one kind of stream.
///
/// Implemented by an enum with `#[serde(tag = "type", content = "data", rename_all =
/// "snake_case")]`; the log stores the two parts in separate columns. Every variant carries data: a
/// variant without fields is written `Variant {}`.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Every event type of the set with its current schema version.
    const TYPES: &'static [(&'static str, i16)];
    /// Upcasts from older schema versions to the current one, one version each.
    const UPCASTS: &'static [Upcast] = &[];
}

/// The events that a consumer decodes: one [`Event`] set, or a [`union!`](crate::union) of several.
pub trait EventSet: Sized + Send + Sync + 'static {
    /// Decodes a stored event and upcasts it to the current schema version.
    ///
    /// # Errors
    /// As for [`decode`].
    fn read(event_type: &str, schema_version: i16, data: &str) -> Result<Self, CodecError>;

    /// Returns whether this build knows the event type in this schema version. An event that it does
    /// not know was written by a newer build.
    fn knows(event_type: &str, schema_version: i16) -> bool;
}

impl<E: Event> EventSet for E {
    fn read(event_type: &str, schema_version: i16, data: &str) -> Result<Self, CodecError> {
        decode(event_type, schema_version, data)
    }

    fn knows(event_type: &str, schema_version: i16) -> bool {
        E::TYPES.iter().any(|(name, current)| *name == event_type && schema_version <= *current)
    }
}

/// Combines several event sets of a context into one enum, for consumers of more than one of its
/// categories.
///
/// `eventsourcing::union!(pub enum Event { Product(product::Event), Stock(stock_item::Event) })`
#[macro_export]
macro_rules! union {
    ($(#[$doc:meta])* pub enum $name:ident { $($variant:ident($set:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $(
                #[doc = concat!("An event of [`", stringify!($set), "`].")]
                $variant($set),
            )+
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

            fn knows(event_type: &str, schema_version: i16) -> bool {
                use $crate::event::Event;
                let known = [$(<$set as Event>::TYPES),+];
                known.into_iter().flatten().any(|(name, current)| {
                    *name == event_type && schema_version <= *current
                })
            }
        }
    };
}

/// An upcast: converts the data of one event type from one schema version to the next. Stored events
/// are never rewritten; they are upcast each time they are decoded.
#[derive(Debug, Clone, Copy)]
pub struct Upcast {
    /// Event type to convert.
    pub event_type: &'static str,
    /// Schema version to convert from; the result has version `from + 1`.
    pub from: i16,
    /// Changes the members of the event's data in place.
    pub apply: fn(&mut Map<String, Value>),
}

/// The position of an event in the log. The first event has position 1; 0 is before it. Positions
/// have no gaps and follow the order of commits.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub i64);

impl Position {
    /// The position before the first event.
    pub const START: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a stream: the number of its events. The first event has version 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub i64);

impl Version {
    /// The version of a stream that does not exist yet.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Metadata of an event: who caused it, and the request and event it follows from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Id shared by all events that follow from one request; `None` if the request has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// Id of the event that caused this one; `None` if a request caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// Subject of the caller's token, or name of the process that appended the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// W3C trace context of the request (`traceparent` header); `None` if it is not traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded<E> {
    /// Position in the log.
    pub position: Position,
    /// Unique id. Appending an event whose id is in the log is a duplicate.
    pub id: Uuid,
    /// Stream the event belongs to.
    pub stream: StreamId,
    /// Version of the stream after the event.
    pub version: Version,
    /// Time of the append by the event store's clock, in microseconds; never decreasing.
    pub recorded_at: DateTime<Utc>,
    /// Who caused the event, and what it follows from.
    pub metadata: Metadata,
    /// The decoded event.
    pub event: E,
}

impl<E> Recorded<E> {
    /// Separates the event from its place in the log.
    pub fn split(self) -> (Recorded<()>, E) {
        let Self { position, id, stream, version, recorded_at, metadata, event } = self;
        (Recorded { position, id, stream, version, recorded_at, metadata, event: () }, event)
    }
}

/// An event in the form the log stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Event type, in `snake_case`.
    pub event_type: Box<str>,
    /// Current schema version of the event type.
    pub schema_version: i16,
    /// Data of the event as JSON text.
    pub data: Box<str>,
}

/// Encodes an event with the current schema version of its type, and decodes the result: an event that
/// its readers could not decode must not be recorded.
///
/// # Errors
/// Returns an error if `E` is not tagged as [`Event`] requires, does not list the type in
/// [`Event::TYPES`], cannot be serialized, or cannot be decoded again.
pub fn encode<E: Event>(event: &E) -> Result<Encoded, CodecError> {
    let tagged = serde_json::to_string(event).map_err(CodecError::Json)?;
    // Adjacent tagging always writes `{"type":"…","data":…}` in this order.
    let rest = tagged.strip_prefix(r#"{"type":""#).ok_or(CodecError::NotTagged)?;
    let (event_type, rest) = rest.split_once(r#"","data":"#).ok_or(CodecError::NotTagged)?;
    let data = rest.strip_suffix('}').ok_or(CodecError::NotTagged)?;
    let schema_version = current_version::<E>(event_type)?;
    E::deserialize(Tagged::new(event_type, data)).map_err(CodecError::Undecodable)?;
    Ok(Encoded { event_type: event_type.into(), schema_version, data: data.into() })
}

/// Decodes a stored event and upcasts it to the current schema version.
///
/// # Errors
/// Returns an error if the type is not one of the set, its schema version is newer than this build
/// or lacks an upcast, or the data does not fit the type.
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
    let mut data = serde_json::Deserializer::from_str(data);
    let mut fields = json::object(&mut data).map_err(CodecError::Json)?;
    data.end().map_err(CodecError::Json)?;
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

/// Why an event cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The data is not valid JSON, or does not fit the event type.
    #[error("the data does not fit the event type")]
    Json(#[source] serde_json::Error),
    /// The event was encoded, but its readers could not decode it.
    #[error("the event could not be decoded after recording: {0}")]
    Undecodable(#[source] serde_json::Error),
    /// The event set does not serialize to `{"type": …, "data": …}`.
    #[error("the event set is not tagged with `type` and `data`")]
    NotTagged,
    /// The event set has no event of this type.
    #[error("event type `{0}` is unknown to this event set")]
    UnknownType(Box<str>),
    /// A newer build wrote the event.
    #[error(
        "event type `{event_type}` has schema version {schema_version}, newer than this build; upgrade"
    )]
    NewerSchema {
        /// Type of the event.
        event_type: Box<str>,
        /// Schema version of the event.
        schema_version: i16,
    },
    /// An upcast is missing from [`Event::UPCASTS`].
    #[error("event type `{event_type}` has no upcast from schema version {from}")]
    NoUpcast {
        /// Type of the event.
        event_type: Box<str>,
        /// Schema version that has no upcast.
        from: i16,
    },
}

impl CodecError {
    /// Returns whether a newer build wrote the event, which can decode it. Any other event that cannot
    /// be decoded is corrupt.
    pub fn is_of_newer_build(&self) -> bool {
        matches!(self, Self::UnknownType(_) | Self::NewerSchema { .. })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{CodecError, Event, EventSet, Upcast, decode, encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data", rename_all = "snake_case")]
    enum Sample {
        Measured { celsius: f64, by: String },
    }

    impl Event for Sample {
        const TYPES: &'static [(&'static str, i16)] = &[("measured", 3)];
        const UPCASTS: &'static [Upcast] = &[
            Upcast {
                event_type: "measured",
                from: 1,
                apply: |fields| {
                    let degrees = fields.remove("degrees").unwrap_or_default();
                    fields.insert("celsius".into(), degrees);
                },
            },
            Upcast {
                event_type: "measured",
                from: 2,
                apply: |fields| {
                    fields.insert("by".into(), "unknown".into());
                },
            },
        ];
    }

    #[test]
    fn an_event_is_upcast_one_schema_version_at_a_time() {
        let event: Sample = decode("measured", 1, r#"{"degrees": 21.5}"#).unwrap();
        assert_eq!(event, Sample::Measured { celsius: 21.5, by: "unknown".into() });
        let event: Sample = decode("measured", 2, r#"{"celsius": 21.5}"#).unwrap();
        assert_eq!(event, Sample::Measured { celsius: 21.5, by: "unknown".into() });
    }

    #[test]
    fn an_event_of_a_newer_build_is_refused() {
        let error = decode::<Sample>("measured", 4, "{}").unwrap_err();
        assert!(matches!(error, CodecError::NewerSchema { .. }), "{error}");
        assert!(error.is_of_newer_build() && !Sample::knows("measured", 4));
        let error = decode::<Sample>("weighed", 1, "{}").unwrap_err();
        assert!(matches!(error, CodecError::UnknownType(_)), "{error}");
        assert!(error.is_of_newer_build() && !Sample::knows("weighed", 1));
        let error = decode::<Sample>("measured", 3, "{}").unwrap_err();
        assert!(!error.is_of_newer_build() && Sample::knows("measured", 3), "corrupt: {error}");
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data", rename_all = "snake_case")]
    enum Lenient {
        Accepted { value: serde_json::Value },
    }

    impl Event for Lenient {
        const TYPES: &'static [(&'static str, i16)] = &[("accepted", 1)];
    }

    #[test]
    fn an_event_that_could_not_be_decoded_is_not_encoded() {
        let nested = |levels| Lenient::Accepted {
            value: (0..levels).fold(serde_json::Value::Null, |value, _| vec![value].into()),
        };
        assert!(encode(&nested(100)).is_ok());
        let error = encode(&nested(127)).unwrap_err();
        assert!(matches!(error, CodecError::Undecodable(_)), "{error}");
    }
}
