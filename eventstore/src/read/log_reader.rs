//! The reader of the log: the head, and events by position or by stream.

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId, Version};
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::bus::owner::Owner;
use crate::error::Unavailable;
use crate::pool::{ConnectOptions, Pool};
use crate::raw::RawEvent;
use crate::read::filter::{ALL, Filter};
use crate::read::page::{COLUMNS, Collected, Page, collect};

/// Most positions that one filtered read scans: bounds the cost of a page with few matches.
const SCAN: i64 = 100_000;

/// The order in which a page is read.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Forward,
    Back,
}

impl Direction {
    fn sql(self) -> &'static str {
        match self {
            Self::Forward => "",
            Self::Back => " desc",
        }
    }
}

/// Reads the log. Starts no task and needs no appender; clones share the pool.
#[derive(Debug, Clone)]
pub struct LogReader {
    pub(crate) pool: Pool,
    committed: watch::Receiver<Position>,
}

impl LogReader {
    /// Creates a reader for a process that does not append. Connects on first use.
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self::with_commits(pool.into(), watch::channel(Position::START).1)
    }

    /// Creates a reader that is notified of the process's own commits.
    pub(crate) fn with_commits(pool: Pool, committed: watch::Receiver<Position>) -> Self {
        Self { pool, committed }
    }

    /// Returns the pool that the log is read with.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns the options of connections outside the pool.
    pub fn connect_options(&self) -> &ConnectOptions {
        self.pool.options()
    }

    /// Watches the last position that this process committed: a notification, since other processes
    /// commit too. Without an appender it stays 0 and its channel is closed.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }

    /// Returns the head: the last committed position.
    pub async fn head(&self) -> Result<Position, Unavailable> {
        let position = sqlx::query_scalar("select position from log.head").fetch_one(self.pool());
        Ok(Position(position.await?))
    }

    /// Returns the head and when its event was recorded; no time if the log is empty.
    pub async fn head_recorded(&self) -> Result<(Position, Option<DateTime<Utc>>), Unavailable> {
        let row = sqlx::query_as("select position, recorded_at from log.head");
        let (position, at): (i64, DateTime<Utc>) = row.fetch_one(self.pool()).await?;
        Ok((Position(position), (position > 0).then_some(at)))
    }

    /// Returns the time by the clock of Postgres.
    pub async fn time_of_postgres(&self) -> Result<DateTime<Utc>, Unavailable> {
        let now = sqlx::query_scalar("select clock_timestamp()");
        Ok(now.fetch_one(self.pool()).await?)
    }

    /// Returns the deployment that the log belongs to, and its epoch: the owner of its streams.
    pub async fn owner(&self) -> Result<Owner, Unavailable> {
        let row = sqlx::query_as("select d.id, h.epoch from log.deployment d, log.head h");
        let (deployment, epoch) = row.fetch_one(self.pool()).await?;
        Ok(Owner { deployment, epoch })
    }

    /// Returns a page of the matching events after `after` up to and including `until`, at most
    /// `limit` and [`PAGE_BYTES`](crate::PAGE_BYTES).
    ///
    /// [`Page::through`] is where to continue. Nothing at or below it appears later as long as
    /// `until` is committed.
    pub async fn read(
        &self,
        after: Position,
        until: Position,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, Unavailable> {
        let scan = if filter.scans() { SCAN } else { i64::MAX };
        let until = until.min(Position(after.0.saturating_add(scan)));
        let events = self.select((after, until), filter, limit, Direction::Forward).await?;
        let through = match events.list.last() {
            Some(last) if events.full => last.position,
            _ => until.max(after),
        };
        Ok(Page { events: events.list, through })
    }

    /// Returns a page of the matching events before `before` and after `after`, newest first, at most
    /// `limit` and [`PAGE_BYTES`](crate::PAGE_BYTES).
    ///
    /// [`Page::through`] is the `before` to continue with: at most `after + 1` at the end.
    pub async fn read_back(
        &self,
        before: Position,
        after: Position,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page, Unavailable> {
        let until = Position(before.0.saturating_sub(1));
        let scan = if filter.scans() { SCAN } else { i64::MAX };
        let after = after.max(Position(until.0.saturating_sub(scan)));
        let events = self.select((after, until), filter, limit, Direction::Back).await?;
        let through = match events.list.last() {
            Some(last) if events.full => last.position,
            _ => Position(after.0.saturating_add(1)).min(before),
        };
        Ok(Page { events: events.list, through })
    }

    /// Returns the matching events after the first position up to and including the second.
    async fn select(
        &self,
        (after, until): (Position, Position),
        filter: &Filter,
        limit: usize,
        direction: Direction,
    ) -> Result<Collected, Unavailable> {
        // In a stream, versions order as positions do, and there is an index of them. The sum hides
        // the position from the planner, which would scan the whole log instead.
        let (range, order) = if filter.stream.is_some() {
            ("stream_id = $6 and position + 0 > $1 and position + 0 <= $2", "version")
        } else {
            ("position > $1 and position <= $2", "position")
        };
        let mut sql = format!("select {COLUMNS} from log.event where {range}");
        if *filter != ALL {
            sql += " and (cardinality($4::text[]) = 0 or stream_id ^@ any($4))
                     and (cardinality($5::text[]) = 0 or event_type = any($5))";
        }
        sql = sql + " order by " + order + direction.sql() + " limit $3";
        let mut query = sqlx::query(&sql)
            .bind(after.0)
            .bind(until.0)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        if *filter != ALL {
            let prefix = |category: &String| format!("{category}-");
            let categories: Vec<_> = filter.categories.iter().map(prefix).collect();
            query = query.bind(categories).bind(&filter.event_types);
        }
        if let Some(stream) = &filter.stream {
            query = query.bind(stream.as_str());
        }
        // A connection, because the pool would pass every row through one more stream.
        let mut connection = self.pool.acquire().await?;
        Ok(collect(query.fetch(&mut *connection), limit).await?)
    }

    /// Returns the position of the last event recorded before `time`; 0 if there is none. By binary
    /// search: times never decrease with positions, and no index has them.
    pub async fn last_before(&self, time: DateTime<Utc>) -> Result<Position, Unavailable> {
        let (mut earlier, mut later) = (0, self.head().await?.0 + 1);
        while later - earlier > 1 {
            let middle = earlier + (later - earlier) / 2;
            let recorded =
                sqlx::query_scalar("select recorded_at from log.event where position = $1");
            let recorded: Option<DateTime<Utc>> =
                recorded.bind(middle).fetch_optional(self.pool()).await?;
            match recorded {
                Some(recorded) if recorded >= time => later = middle,
                _ => earlier = middle,
            }
        }
        Ok(Position(earlier))
    }

    /// Returns the events of a stream after the version `after`, oldest first, at most `limit` and
    /// [`PAGE_BYTES`](crate::PAGE_BYTES). Empty at the end of the stream.
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
            .fetch(self.pool());
        Ok(collect(rows, limit).await?.list)
    }

    /// Returns the newest events of a stream, newest first, at most `limit` and
    /// [`PAGE_BYTES`](crate::PAGE_BYTES).
    pub async fn newest_of_stream(
        &self,
        stream: &StreamId,
        limit: usize,
    ) -> Result<Vec<RawEvent>, Unavailable> {
        let sql = format!(
            "select {COLUMNS} from log.event where stream_id = $1 order by version desc limit $2"
        );
        let rows = sqlx::query(&sql)
            .bind(stream.as_str())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(self.pool());
        Ok(collect(rows, limit).await?.list)
    }

    /// Returns the last event of each of `streams` up to and including `until`. Omits a stream
    /// without one.
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

    /// Returns the event of this id.
    pub async fn by_id(&self, id: Uuid) -> Result<Option<RawEvent>, Unavailable> {
        let sql = format!("select {COLUMNS} from log.event where event_id = $1");
        let rows = sqlx::query(&sql).bind(id).fetch(self.pool());
        Ok(collect(rows, 1).await?.list.pop())
    }

    /// Returns the last events of each of `streams`, at most `limit` each, by position.
    pub async fn last_events(
        &self,
        streams: &[StreamId],
        limit: i64,
    ) -> Result<Vec<RawEvent>, Unavailable> {
        let sql = format!(
            "select last.* from unnest($1::text[]) as asked (id)
             cross join lateral (
               select {COLUMNS} from log.event where stream_id = asked.id
               order by version desc limit $2) last
             order by position"
        );
        let rows = sqlx::query(&sql)
            .bind(streams.iter().map(StreamId::as_str).collect::<Vec<_>>())
            .bind(limit)
            .fetch(self.pool());
        Ok(collect(rows, usize::MAX).await?.list)
    }

    /// Returns whether the log holds an event of `category`. Reads one row of an index.
    pub async fn has_category(&self, category: &str) -> Result<bool, Unavailable> {
        // `.` follows `-`, which ends the category in a stream id.
        let found = sqlx::query_scalar(
            "select exists (select from log.event where stream_id >= $1 and stream_id < $2)",
        )
        .bind(format!("{category}-"))
        .bind(format!("{category}."))
        .fetch_one(self.pool());
        Ok(found.await?)
    }

    /// Returns the events at `positions`, in order. Omits positions after the head.
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
