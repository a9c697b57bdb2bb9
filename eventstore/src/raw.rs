//! An event as the log stores it, before it is decoded.

use chrono::{DateTime, Utc};
use eventsourcing::event::{CodecError, EventSet};
use eventsourcing::{Metadata, Position, Recorded, StreamId, Version};
use uuid::Uuid;

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Position in the log, from 1.
    pub position: Position,
    /// Identity of the event; unique in the log.
    pub id: Uuid,
    /// Stream that the event belongs to.
    pub stream: StreamId,
    /// Version of the stream with this event, from 1.
    pub version: Version,
    /// Type of the event within its event set.
    pub event_type: Box<str>,
    /// Schema version that `data` was written in.
    pub schema_version: i16,
    /// JSON text, exactly as appended.
    pub data: Box<str>,
    /// JSON text of a [`Metadata`].
    pub metadata: Box<str>,
    /// Time of the append by the clock of Postgres, in microseconds; never decreases with the
    /// position.
    pub recorded_at: DateTime<Utc>,
}

impl RawEvent {
    /// Decodes the event, upcast to today's schema.
    pub fn event<E: EventSet>(&self) -> Result<E, CodecError> {
        E::read(&self.event_type, self.schema_version, &self.data)
    }

    /// Returns whether this build knows the type and the schema version of the event. If not, a newer
    /// build wrote it.
    pub fn is_known<E: EventSet>(&self) -> bool {
        E::knows(&self.event_type, self.schema_version)
    }

    /// Decodes the metadata. Separate from reading, because most readers do not need it.
    pub fn metadata(&self) -> Result<Metadata, CodecError> {
        if &*self.metadata == "{}" {
            return Ok(Metadata::default()); // Most readings have none.
        }
        serde_json::from_str(&self.metadata).map_err(CodecError::Json)
    }

    /// Decodes the event and its metadata.
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

    /// Returns the approximate size in memory, in bytes. Bounds pages and caches.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.stream.as_str().len() + self.data.len() + self.metadata.len()
    }
}
