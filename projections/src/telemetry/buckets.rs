//! Lists of buckets. A bucket is made of stored ones, whose narrowest are minutes, and at the ends of the
//! range of the readings of a part of a minute.

use std::collections::BTreeMap;
use std::ops::Range as Seconds;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use utoipa::ToSchema;

use super::device_fields::DeviceFields;
use super::query::Range;
use super::rollup::{Rollup, Sample, each_field};
use crate::spans::{Parts, Span, ceil, floor, stored};
use domain::TimeWindow;
use eventsourcing::Position;
use eventsourcing::json::Object;

/// The values of a field in one bucket of time, aggregated.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct Bucket {
    /// Start of the bucket; buckets are aligned to the Unix epoch. The first and the last one hold only
    /// the values of the requested range.
    pub time: DateTime<Utc>,
    /// Path of the field.
    pub field: String,
    /// Number of values.
    pub count: i64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean of the values, from an exact sum: `min` ≤ `avg` ≤ `max`.
    pub avg: f64,
    /// The earliest value by the device's clock.
    pub first: f64,
    /// The latest value by the device's clock.
    pub last: f64,
}

/// Cursor of a list of buckets: the last one seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCursor {
    /// Start of the bucket, in seconds since the epoch.
    pub start: i64,
    /// Path of the field.
    pub field: String,
}

impl Bucket {
    /// Returns the cursor that continues after this bucket.
    pub fn cursor(&self) -> BucketCursor {
        BucketCursor { start: self.time.timestamp(), field: self.field.clone() }
    }
}

/// Buckets of a device to list: of `width` seconds, of `fields`, or all if that is empty.
struct Buckets<'q> {
    device: &'q DeviceFields,
    fields: &'q [String],
    width: i32,
    descending: bool,
    limit: i64,
    /// Start of the bucket and field.
    after: Option<(i64, &'q str)>,
}

/// Lists buckets of `width` seconds, a multiple of 60, of these fields of a device, or of all its fields
/// if that is empty, by time and field, after `after`. Only readings of the range count.
pub async fn buckets(
    pool: &PgPool,
    device: &DeviceFields,
    width: i32,
    fields: &[String],
    range: &Range,
    after: Option<&BucketCursor>,
) -> Result<Vec<Bucket>, sqlx::Error> {
    let Range { descending, limit, .. } = *range;
    // A forged cursor may hold any number.
    let after = after.map(|cursor| (cursor.start.clamp(-LATEST, LATEST), cursor.field.as_str()));
    let query = Buckets { device, fields, width, descending, limit, after };
    let micros = query.micros(range);
    if micros.is_empty() {
        return Ok(Vec::new());
    }
    let minutes = ceil(micros.start, MINUTE) / SECOND..floor(micros.end, MINUTE) / SECOND;
    if minutes.start > minutes.end {
        let edges = query.edges(pool, [micros]).await?;
        return query.list(pool, &[], edges).await;
    }
    let mut parts = Parts::of(minutes.clone(), width);
    let mut ends = [micros.start..minutes.start * SECOND, minutes.end * SECOND..micros.end];
    if let Some(last) = query.last(pool, &parts.whole).await? {
        parts.up_to(last, width, descending);
        ends[usize::from(!descending)] = 0..0;
    }
    let edges = query.edges(pool, ends).await?;
    query.list(pool, &parts.spans(width), edges).await
}

/// Microseconds of a second, and of a minute.
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// No reading is as late: the year 2286, in seconds since the epoch.
const LATEST: i64 = 10_000_000_000;

/// Readings of a part of a minute, by start of the bucket and field.
type Edges = BTreeMap<(i64, String), Rollup>;

/// The values of a reading.
#[derive(Debug, FromRow)]
struct Values {
    time: DateTime<Utc>,
    position: i64,
    temperature: Option<f64>,
    battery: Option<f64>,
    #[sqlx(json(nullable))]
    extra_data: Option<Object>,
}

impl<'q> Buckets<'q> {
    /// The range in microseconds, from the bucket of the cursor on.
    fn micros(&self, range: &Range) -> Seconds<i64> {
        let micros = |time: DateTime<Utc>| {
            // Times of readings are whole microseconds.
            let next = i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000));
            let micros = time.timestamp_micros() + next;
            micros.clamp(TimeWindow::EARLIEST * SECOND, LATEST * SECOND)
        };
        let (mut from, mut to) = (micros(range.from), micros(range.to));
        match self.after {
            Some((start, _)) if self.descending => {
                to = to.min((start + i64::from(self.width)) * SECOND);
            }
            Some((start, _)) => from = from.max(start * SECOND),
            None => {}
        }
        from..to
    }

    /// Returns the start of the last whole bucket that a page has to read: after it there are enough
    /// rows. `None` if it has to read all.
    async fn last(&self, pool: &PgPool, whole: &Seconds<i64>) -> Result<Option<i64>, sqlx::Error> {
        if whole.is_empty() {
            return Ok(None);
        }
        let stored = stored(self.width);
        let mut query = QueryBuilder::new(
            "select extract(epoch from bucket)::bigint from telemetry.rollup where device = ",
        );
        query.push_bind(self.device.number).push(" and width = ").push_bind(stored);
        query.push(" and bucket >= to_timestamp(").push_bind(whole.start);
        query.push(") and bucket < to_timestamp(").push_bind(whole.end).push(")");
        self.push_fields(&mut query);
        if let Some((start, field)) = self.after {
            query.push(" and (bucket < to_timestamp(").push_bind(start);
            query.push(") or bucket >= to_timestamp(").push_bind(start + i64::from(self.width));
            query.push(") or field > ").push_bind(field).push(")");
        }
        let order = if self.descending { "bucket desc, field desc" } else { "bucket, field" };
        query.push(" order by ").push(order);
        // A row of the list is made of at most so many stored ones.
        let ratio = i64::from(self.width / stored);
        query.push(" limit 1 offset ").push_bind(self.limit.saturating_mul(ratio));
        let last: Option<i64> = query.build_query_scalar().fetch_optional(pool).await?;
        Ok(last.map(|second| floor(second, self.width.into())))
    }

    fn push_fields(&self, query: &mut QueryBuilder<'q, Postgres>) {
        if !self.fields.is_empty() {
            query.push(" and field = any(").push_bind(self.fields).push(")");
        }
    }

    /// Aggregates the readings of parts of minutes.
    async fn edges(
        &self,
        pool: &PgPool,
        parts: impl IntoIterator<Item = Seconds<i64>>,
    ) -> Result<Edges, sqlx::Error> {
        let mut edges = Edges::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let time = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
            let start = floor(part.start / SECOND, self.width.into());
            let mut readings = sqlx::query_as::<_, Values>(
                "select time, position, temperature, battery, extra_data from telemetry.reading
                 where device = $1 and time >= $2 and time < $3",
            )
            .bind(self.device.number)
            .bind(time(part.start))
            .bind(time(part.end))
            .fetch(pool);
            while let Some(values) = readings.try_next().await? {
                self.add(&mut edges, start, &values);
            }
        }
        Ok(edges)
    }

    fn add(&self, edges: &mut Edges, start: i64, values: &Values) {
        let (at, position) = (values.time, Position(values.position));
        let known = [values.temperature, values.battery];
        let none = Object::default();
        let extra_data = values.extra_data.as_ref().unwrap_or(&none);
        each_field(known, extra_data, &mut |name, value| {
            let is_listed = self.fields.is_empty() || self.fields.iter().any(|field| field == name);
            let has_buckets = || self.device.with_buckets().any(|field| field == name);
            let Some(value) = value.filter(|_| is_listed && has_buckets()) else { return };
            let rollup = Rollup::of(Sample { at, position, value });
            edges
                .entry((start, name.to_owned()))
                .and_modify(|known| known.add(&rollup))
                .or_insert(rollup);
        });
    }

    /// Lists the buckets that consist of these stored buckets and edges. The rows of an hour lack the
    /// open minute of the device, those of a day also the open hour: see `schema.sql`. They are found in
    /// the same snapshot.
    async fn list(
        &self,
        pool: &PgPool,
        spans: &[Span],
        edges: Edges,
    ) -> Result<Vec<Bucket>, sqlx::Error> {
        let mut query =
            QueryBuilder::new("with device as (select number, time from telemetry.device");
        query.push(" where (user_id, device_id) = (").push_bind(&self.device.user_id).push(", ");
        query.push_bind(&self.device.device_id).push(
            ")), range as (
               select width, to_timestamp(begin) as begin, to_timestamp(finish) as finish
               from unnest(",
        );
        query.push_bind(spans.iter().map(|span| span.width).collect::<Vec<_>>()).push(", ");
        query.push_bind(spans.iter().map(|span| span.range.start).collect::<Vec<_>>()).push(", ");
        query.push_bind(spans.iter().map(|span| span.range.end).collect::<Vec<_>>());
        query.push(
            ") as s (width, begin, finish)
             ), span as (
               select width, begin, finish from range
               union all
               select 60, start, start + interval '1 minute'
               from range, device, date_bin('1 minute', time, 'epoch') as start
               where width > 60 and start >= begin and start < finish
               union all
               select 3600, start, start + interval '1 hour'
               from range, device, date_bin('1 hour', time, 'epoch') as start
               where width > 3600 and start >= begin and start < finish
             ), part as (
               select r.*, date_bin(make_interval(secs => ",
        );
        query.push_bind(f64::from(self.width)).push(
            "), r.bucket, 'epoch') as time
               from device d cross join span s cross join lateral (
                 select bucket, field, count, sum, min, max, first, first_at, first_position, last,
                        last_at, last_position
                 from telemetry.rollup
                 where device = d.number and width = s.width
                   and bucket >= s.begin and bucket < s.finish",
        );
        self.push_fields(&mut query);
        query.push(" offset 0) r");
        push_edges(&mut query, edges);
        query.push(
            ")
             select time, field, sum(count)::bigint as count, min(min) as min, max(max) as max,
                    telemetry.mean(sum(sum), sum(count)) as avg,
                    (array_agg(first order by first_at, first_position))[1] as first,
                    (array_agg(last order by last_at desc, last_position desc))[1] as last
             from part",
        );
        if let Some((start, field)) = self.after {
            let beyond = if self.descending { "<" } else { ">" };
            query.push(" where (time ").push(beyond).push(" to_timestamp(").push_bind(start);
            query.push(") or time = to_timestamp(").push_bind(start);
            query.push(") and field > ").push_bind(field).push(")");
        }
        query.push(" group by time, field order by time");
        query.push(if self.descending { " desc" } else { "" });
        query.push(", field limit ").push_bind(self.limit);
        query.build_query_as().fetch_all(pool).await
    }
}

/// Adds edges to the parts of buckets.
fn push_edges(query: &mut QueryBuilder<'_, Postgres>, edges: Edges) {
    if edges.is_empty() {
        return;
    }
    let rows: Vec<_> = edges.into_iter().collect();
    query.push(
        " union all
          select to_timestamp(start), field collate \"C\", count,
                 (select sum(part::numeric) from unnest(string_to_array(sum, ' ')) as part), min, max,
                 first, first_at, first_position, last, last_at, last_position, to_timestamp(start)
          from unnest(",
    );
    macro_rules! columns {
        ($($value:expr),* $(,)?) => {{
            let mut arrays = query.separated(", ");
            $( arrays.push_bind(rows.iter().map($value).collect::<Vec<_>>()); )*
        }};
    }
    columns!(
        |((start, _), _)| *start,
        |((_, field), _)| field.clone(),
        |(_, rollup)| rollup.count,
        |(_, rollup)| rollup.sum.to_string(),
        |(_, rollup)| rollup.min,
        |(_, rollup)| rollup.max,
        |(_, rollup)| rollup.first.value,
        |(_, rollup)| rollup.first.at,
        |(_, rollup)| rollup.first.position.0,
        |(_, rollup)| rollup.last.value,
        |(_, rollup)| rollup.last.at,
        |(_, rollup)| rollup.last.position.0,
    );
    query.push(
        ") as n (start, field, count, sum, min, max, first, first_at, first_position, last, last_at,
                 last_position)",
    );
}
