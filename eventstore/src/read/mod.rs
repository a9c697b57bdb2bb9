//! Reading the log: pages of bounded size, by position or by stream.

pub(crate) mod feed;
pub(crate) mod head_watch;
pub(crate) mod ring_buffer;
pub(crate) mod stream_tail;
pub(crate) mod subscription;
pub(crate) mod verify;

use eventsourcing::{Position, StreamId, Version};
use futures::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::raw::RawEvent;
use crate::{EventStore, Unavailable};

/// A page ends early when it holds this many bytes.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How far past `after` one filtered read looks, in positions: bounds the work of a page on which
/// little or nothing is found.
const SCAN: i64 = 100_000;

/// Which events a reader matches. Empty lists want all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub categories: Vec<String>,
    pub event_types: Vec<String>,
    pub stream: Option<StreamId>,
}

/// Everything.
pub(crate) static ALL: Filter =
    Filter { categories: Vec::new(), event_types: Vec::new(), stream: None };

impl Filter {
    /// Everything that happens to streams of these categories.
    pub fn categories(categories: &[&str]) -> Self {
        let categories = categories.iter().map(|&category| category.to_owned()).collect();
        Self { categories, ..Self::default() }
    }

    /// Whether `event` is wanted.
    pub fn matches(&self, event: &RawEvent) -> bool {
        let wanted =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
        wanted(&self.categories, event.stream.category())
            && wanted(&self.event_types, &event.event_type)
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
    }
}

/// A stretch of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<RawEvent>,
    /// Every wanted event up to here is on this page or before it. May lie past the last event.
    pub through: Position,
}

const COLUMNS: &str = "position, event_id, stream_id, version, event_type, schema_version, data, \
                       metadata, recorded_at";

impl EventStore {
    /// The last committed position.
    pub async fn head(&self) -> Result<Position, Unavailable> {
        let position = sqlx::query_scalar("select position from log.head").fetch_one(&self.pool);
        Ok(Position(position.await?))
    }

    /// Which history this is: a backup that was restored begins another one.
    pub async fn epoch(&self) -> Result<i64, Unavailable> {
        let epoch = sqlx::query_scalar("select epoch from log.head").fetch_one(self.pool());
        Ok(epoch.await?)
    }

    /// The wanted events after `after` and not after `until`, a position known to be committed;
    /// at most `limit`, fewer when they are large.
    pub async fn read(
        &self,
        after: Position,
        until: Position,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, Unavailable> {
        // In a stream, versions order as positions do, and there is an index of them. The sum hides
        // the position from the planner, which would go through the whole log instead.
        let (range, order) = if filter.stream.is_some() {
            ("stream_id = $6 and position + 0 > $1 and position + 0 <= $2", "version")
        } else {
            ("position > $1 and position <= $2", "position")
        };
        let mut sql = format!("select {COLUMNS} from log.event where {range}");
        let mut until = until;
        if *filter != ALL {
            sql += " and (cardinality($4::text[]) = 0 or stream_id ^@ any($4))
                     and (cardinality($5::text[]) = 0 or event_type = any($5))";
            if filter.stream.is_none() {
                until = until.min(Position(after.0.saturating_add(SCAN)));
            }
        }
        sql = sql + " order by " + order + " limit $3";
        let mut query = sqlx::query(&sql)
            .bind(after.0)
            .bind(until.0)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        if *filter != ALL {
            let begin = |category: &String| format!("{category}-");
            let categories: Vec<_> = filter.categories.iter().map(begin).collect();
            query = query.bind(categories).bind(&filter.event_types);
        }
        if let Some(stream) = &filter.stream {
            query = query.bind(stream.as_str());
        }
        // Not on the pool itself: that would pass every row through one more stream.
        let mut connection = self.pool.acquire().await?;
        let events = collect(query.fetch(&mut *connection), limit).await?;
        let through = match events.last() {
            Some(last) if events.full => last.position,
            _ => until.max(after),
        };
        Ok(Page { events: events.list, through })
    }

    /// The events of one stream after `after`, oldest first; at most `limit`, fewer when they are
    /// large. An empty page is the end of the stream.
    pub async fn read_stream(
        &self,
        stream: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<RawEvent>, Unavailable> {
        let sql = format!(
            "select {COLUMNS} from log.event where stream_id = $1 and version > $2
             order by version limit $3"
        );
        let rows = sqlx::query(&sql)
            .bind(stream.as_str())
            .bind(after.0)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(&self.pool);
        Ok(collect(rows, limit).await?.list)
    }
}

impl EventStore {
    /// The last event of each of `streams` up to `until`; those without one are left out.
    pub async fn last_of_streams(
        &self,
        streams: &[StreamId],
        until: Position,
    ) -> Result<Vec<RawEvent>, Unavailable> {
        let sql = format!(
            "select last.* from unnest($1::text[]) as asked (id)
             cross join lateral (
               select {COLUMNS} from log.event where stream_id = asked.id and position + 0 <= $2
               order by version desc limit 1) last"
        );
        let rows = sqlx::query(&sql)
            .bind(streams.iter().map(StreamId::as_str).collect::<Vec<_>>())
            .bind(until.0)
            .fetch(self.pool());
        Ok(collect(rows, streams.len()).await?.list)
    }

    /// The events at `positions`, in order; those the log does not have are left out.
    pub async fn at_positions(&self, positions: &[Position]) -> Result<Vec<RawEvent>, Unavailable> {
        let sql = format!(
            "select {COLUMNS} from log.event where position = any($1::bigint[]) order by position"
        );
        let rows = sqlx::query(&sql)
            .bind(positions.iter().map(|position| position.0).collect::<Vec<_>>())
            .fetch(self.pool());
        Ok(collect(rows, positions.len()).await?.list)
    }
}

struct Collected {
    list: Vec<RawEvent>,
    /// There may be more.
    full: bool,
}

impl Collected {
    fn last(&self) -> Option<&RawEvent> {
        self.list.last()
    }
}

async fn collect(
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

/// A row of [`COLUMNS`]. Unchecked: their types are known, and comparing them costs as much as the
/// rest; and json travels as its text, which sqlx would parse to hand it over.
pub(crate) fn from_row(row: &PgRow) -> Result<RawEvent, sqlx::Error> {
    let stream: &str = row.try_get_unchecked(2)?;
    Ok(RawEvent {
        position: Position(row.try_get_unchecked(0)?),
        id: row.try_get_unchecked(1)?,
        stream: StreamId::parse(stream).map_err(|error| sqlx::Error::Decode(error.into()))?,
        version: Version(row.try_get_unchecked(3)?),
        event_type: row.try_get_unchecked::<&str, _>(4)?.into(),
        schema_version: row.try_get_unchecked(5)?,
        data: row.try_get_unchecked::<&str, _>(6)?.into(),
        metadata: row.try_get_unchecked::<&str, _>(7)?.into(),
        recorded_at: row.try_get_unchecked(8)?,
    })
}
