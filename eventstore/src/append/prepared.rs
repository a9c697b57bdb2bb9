//! A prepared request: everything that does not depend on the position is computed by the caller's
//! task, so that the appender, which holds the lock of the log's head, only adds the positions.

use std::collections::HashMap;

use eventsourcing::event::CodecError;
use eventsourcing::{Position, StreamId};
use uuid::Uuid;

use crate::append::outcome::AppendError;
use crate::append::receipt::NewReceipt;
use crate::append::request::{Append, ExpectedVersion, NewEvent};
use crate::copy::CopyRows;
use crate::hash_chain::Content;

pub(crate) struct Prepared {
    pub(crate) streams: Vec<PreparedStream>,
    pub(crate) receipt: Option<NewReceipt>,
    /// Number of events.
    pub(crate) events: usize,
    /// Bytes of event data and response; bounds the queue and a batch.
    pub(crate) bytes: usize,
}

pub(crate) struct PreparedStream {
    pub(crate) stream: StreamId,
    pub(crate) expected: ExpectedVersion,
    pub(crate) events: Vec<PreparedEvent>,
}

pub(crate) struct PreparedEvent {
    pub(crate) id: Uuid,
    /// Hash of the content.
    pub(crate) content: [u8; 32],
    /// The columns of the content, encoded for COPY.
    pub(crate) columns: CopyRows,
}

impl Prepared {
    pub(crate) fn new(request: Append) -> Result<Self, AppendError> {
        let metadata = serde_json::to_string(&request.metadata).map_err(CodecError::Json)?;
        let (events, bytes) = (request.events(), request.bytes());
        let streams = request.streams.into_iter().map(|part| PreparedStream {
            events: part.events.iter().map(|new| prepare(new, &part.stream, &metadata)).collect(),
            stream: part.stream,
            expected: part.expected,
        });
        Ok(Self { streams: streams.collect(), receipt: request.receipt, events, bytes })
    }

    pub(crate) fn all_events(&self) -> impl Iterator<Item = &PreparedEvent> {
        self.streams.iter().flat_map(|part| &part.events)
    }

    /// Returns the position of the first event if the log has every event of the request; `None` if it
    /// lacks one, or the request has none.
    pub(crate) fn duplicate_of(&self, known: &HashMap<Uuid, Position>) -> Option<Position> {
        let mut events = self.all_events().map(|event| known.get(&event.id).copied());
        let first = events.next()??;
        events.all(|position| position.is_some()).then_some(first)
    }
}

fn prepare(new: &NewEvent, stream: &StreamId, metadata: &str) -> PreparedEvent {
    let content = Content {
        id: new.id.as_bytes(),
        schema_version: new.encoded.schema_version,
        event_type: &new.encoded.event_type,
        stream: stream.as_str(),
        data: &new.encoded.data,
        metadata,
    };
    PreparedEvent { id: new.id, content: content.hash(), columns: columns(&content) }
}

/// The statement that rows are written with. [`columns`] and the conflict check follow its order.
pub(crate) const COPY_EVENTS: &str = "copy log.event (position, version, recorded_at, hash,
    event_id, schema_version, event_type, stream_id, data, metadata) from stdin (format binary)";

/// Number of columns of [`COPY_EVENTS`].
pub(crate) const COLUMNS: i16 = 10;

/// Encodes the columns of [`COPY_EVENTS`] that do not depend on the position.
fn columns(content: &Content<'_>) -> CopyRows {
    /// Bytes of lengths and columns of fixed size.
    const FIXED: usize = 96;
    let texts = [content.event_type, content.stream, content.data, content.metadata];
    let mut columns = CopyRows::with_capacity(texts.map(str::len).iter().sum::<usize>() + FIXED);
    columns.bytes(content.id);
    columns.int2(content.schema_version);
    for text in texts {
        columns.text(text);
    }
    columns
}
