//! Pages of the log, and the rows they are made of.

use std::sync::Arc;

use eventsourcing::{Position, StreamId, Version};
use futures::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::raw::RawEvent;

/// A page ends early once it holds this many bytes of events.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Matching events in the order of the read.
    pub events: Vec<RawEvent>,
    /// The page holds every matching event up to this position, or down to it if it is read back. May
    /// be beyond the last event.
    pub through: Position,
}

/// A page as a [`Subscription`](crate::Subscription) delivers it: its events are shared with the
/// ring buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Matching events in the order of positions.
    pub events: Vec<Arc<RawEvent>>,
    /// Every matching event up to this position is in this batch or an earlier one.
    pub through: Position,
}

/// The columns that [`from_row`] expects, in order.
pub(crate) const COLUMNS: &str = "position, event_id, stream_id, version, event_type, \
                                  schema_version, data, metadata, recorded_at";

/// Events of a query.
pub(crate) struct Collected {
    pub(crate) list: Vec<RawEvent>,
    /// The limit or [`PAGE_BYTES`] was reached: there may be more events.
    pub(crate) full: bool,
}

pub(crate) async fn collect(
    mut rows: impl futures::Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
    limit: usize,
) -> Result<Collected, sqlx::Error> {
    let mut list = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let event = from_row(&row)?;
        bytes += event.weight();
        list.push(event);
        if bytes >= PAGE_BYTES {
            return Ok(Collected { list, full: true });
        }
    }
    let full = list.len() >= limit;
    Ok(Collected { list, full })
}

/// Decodes a row of [`COLUMNS`]. Unchecked, because comparing the types costs as much as the rest,
/// and because sqlx would parse the JSON, which is passed on as text.
pub(crate) fn from_row(row: &PgRow) -> Result<RawEvent, sqlx::Error> {
    let stream: &str = row.try_get_unchecked(2)?;
    Ok(RawEvent {
        position: Position(row.try_get_unchecked(0)?),
        id: row.try_get_unchecked(1)?,
        stream: StreamId::stored(stream),
        version: Version(row.try_get_unchecked(3)?),
        event_type: row.try_get_unchecked::<&str, _>(4)?.into(),
        schema_version: row.try_get_unchecked(5)?,
        data: row.try_get_unchecked::<&str, _>(6)?.into(),
        metadata: row.try_get_unchecked::<&str, _>(7)?.into(),
        recorded_at: row.try_get_unchecked(8)?,
    })
}
