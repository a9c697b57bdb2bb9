//! An event as the log holds it, before anybody knows what it means.

use chrono::{DateTime, Utc};
use eventsourcing::event::{CodecError, EventSet};
use eventsourcing::{Metadata, Position, Recorded, StreamId, Version};
use uuid::Uuid;

/// One row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    pub position: Position,
    pub id: Uuid,
    pub stream: StreamId,
    pub version: Version,
    pub event_type: Box<str>,
    pub schema_version: i16,
    /// JSON text, to the letter.
    pub data: Box<str>,
    /// JSON text of a [`Metadata`].
    pub metadata: Box<str>,
    pub recorded_at: DateTime<Utc>,
}

impl RawEvent {
    /// The event itself, upcast to today's schema.
    pub fn event<E: EventSet>(&self) -> Result<E, CodecError> {
        E::read(&self.event_type, self.schema_version, &self.data)
    }

    /// What surrounds it. Costs a parse, so it is not part of every read.
    pub fn metadata(&self) -> Result<Metadata, CodecError> {
        if &*self.metadata == "{}" {
            return Ok(Metadata::default()); // Of most readings.
        }
        serde_json::from_str(&self.metadata).map_err(CodecError::Json)
    }

    /// The event with everything around it.
    pub fn decode<E: EventSet>(&self) -> Result<Recorded<E>, CodecError> {
        Ok(Recorded {
            position: self.position,
            id: self.id,
            stream: self.stream.clone(),
            version: self.version,
            recorded_at: self.recorded_at,
            metadata: self.metadata()?,
            event: self.event()?,
        })
    }

    /// Bytes it holds in memory, roughly; what pages and caches are bounded by.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.stream.as_str().len() + self.data.len() + self.metadata.len()
    }
}
