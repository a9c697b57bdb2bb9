//! Queries of telemetry.

use chrono::{DateTime, Utc};
use eventsourcing::json::{Object, without_fraction};
use serde::Serialize;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use utoipa::ToSchema;

use super::names::ReasonName;
use super::rollup::WIDTHS;
use crate::list::{Key, Section};

/// A device, its last reading and its presence.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct Device {
    /// Owner of the device.
    pub user_id: String,
    /// The device, unique among its owner's.
    pub device_id: String,
    /// Time of receipt of its first message.
    pub first_seen_at: DateTime<Utc>,
    /// Time of receipt of its last message of any kind.
    pub last_seen_at: DateTime<Utc>,
    /// Number of readings it has sent.
    pub readings: i64,
    /// Number of values in its readings that buckets leave out: those of numeric fields beyond the most
    /// that a device may have.
    pub values_not_aggregated: i64,
    /// Time of its last reading, by its own clock. This and the fields of the reading are null until
    /// it has sent one.
    pub time: Option<DateTime<Utc>>,
    /// The device's own counter.
    pub sequence_id: Option<i64>,
    /// Distinguishes restarts of the counter; empty if the device sends none.
    pub boot_id: Option<String>,
    /// In the unit the device measures in; null if the reading has none.
    pub temperature: Option<f64>,
    /// Charge in per cent; null if the reading has none.
    #[serde(serialize_with = "without_fraction")]
    pub battery: Option<f64>,
    /// Every further field of the reading, with the digits of its numbers; null if it has none.
    #[sqlx(json(nullable))]
    #[schema(value_type = Option<Value>)]
    pub extra_data: Option<Object>,
    /// Whether the device is online; null until its first birth, will or decision.
    pub online: Option<bool>,
    /// Time of the last change of `online`; null until then.
    pub online_since: Option<DateTime<Utc>>,
    /// Why it is online: `birth`, or `heard` if it sent a reading while offline. Why it is offline:
    /// `will`, or `inactive` if it was silent for longer than its user allows.
    pub reason: Option<ReasonName>,
    /// Number of its newest session; null until its first birth or will.
    pub session_seq: Option<i64>,
}

/// A reading as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct ReadingRow {
    /// Time by the device's clock, or time of receipt if it sends none.
    pub time: DateTime<Utc>,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// The device's own counter.
    pub sequence_id: i64,
    /// Distinguishes restarts of the counter; empty if the device sends none.
    pub boot_id: String,
    /// In the unit the device measures in; null if the reading has none.
    pub temperature: Option<f64>,
    /// Charge in per cent; null if the reading has none.
    #[serde(serialize_with = "without_fraction")]
    pub battery: Option<f64>,
    /// Every further field, with the digits of its numbers; null if the reading has none.
    #[sqlx(json(nullable))]
    #[schema(value_type = Option<Value>)]
    pub extra_data: Option<Object>,
    /// Position of its event in the log.
    pub position: i64,
}

/// The values of a field in one bucket of time, aggregated.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct Bucket {
    /// Start of the bucket; buckets are aligned to the Unix epoch.
    pub time: DateTime<Utc>,
    /// Name of the field.
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

/// Cursor of a list of devices: the last one seen. The default is the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Owner of the device.
    pub user_id: String,
    /// The device, unique among its owner's.
    pub device_id: String,
}

/// A page of the readings, or of the buckets, of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Inclusive.
    pub from: DateTime<Utc>,
    /// Exclusive.
    pub to: DateTime<Utc>,
    /// Newest first if true, oldest first otherwise.
    pub descending: bool,
    /// Most rows returned.
    pub limit: i64,
    /// Time and position of the last reading of the previous page, position 0 for buckets; `None` for the
    /// first page.
    pub after: Option<(DateTime<Utc>, i64)>,
}

/// Lists devices by user and device, after `cursor`; only those of `user_id`, and only those whose
/// `online` is as given, if given.
pub async fn devices(
    pool: &PgPool,
    user_id: Option<&str>,
    online: Option<bool>,
    cursor: &DeviceCursor,
    limit: i64,
) -> Result<Vec<Device>, sqlx::Error> {
    let mut query = QueryBuilder::new("select * from telemetry.device where true");
    let section = Section::default().by_some("online", online.map(Key::Boolean));
    let (user, device) = match user_id {
        Some(user_id) if user_id > cursor.user_id.as_str() => (user_id, ""),
        _ => (cursor.user_id.as_str(), cursor.device_id.as_str()),
    };
    section.compare(&mut query, "user_id, device_id", ">", |query| {
        query.push_bind(user).push(", ").push_bind(device);
    });
    match (user_id, online) {
        (Some(user_id), _) => section.compare(&mut query, "user_id", "<=", |query| {
            query.push_bind(user_id);
        }),
        (None, Some(online)) => {
            query.push(" and online <= ").push_bind(online);
        }
        (None, None) => {}
    }
    let order = if online.is_some() { "online, user_id, device_id" } else { "user_id, device_id" };
    query.push(" order by ").push(order).push(" limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}

/// Returns a device.
pub async fn device(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
) -> Result<Option<Device>, sqlx::Error> {
    sqlx::query_as("select * from telemetry.device where user_id = $1 and device_id = $2")
        .bind(user_id)
        .bind(device_id)
        .fetch_optional(pool)
        .await
}

/// Lists readings of a device.
pub async fn readings(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
    range: &Range,
) -> Result<Vec<ReadingRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select * from telemetry.reading
         where device = (select number from telemetry.device where user_id = ",
    );
    query.push_bind(user_id).push(" and device_id = ").push_bind(device_id);
    query.push(") and time >= ").push_bind(range.from).push(" and time < ").push_bind(range.to);
    if let Some((time, position)) = range.after {
        let beyond = if range.descending { "<" } else { ">" };
        query.push(" and (time, position) ").push(beyond).push(" (").push_bind(time);
        query.push(", ").push_bind(position).push(")");
    }
    let order = if range.descending { "time desc, position desc" } else { "time, position" };
    query.push(" order by ").push(order).push(" limit ").push_bind(range.limit);
    query.build_query_as().fetch_all(pool).await
}

/// Buckets to list: of a device, of `width` seconds, made of stored buckets of `stored` seconds that
/// begin from `begin` to before `finish`, in seconds since the epoch.
struct Buckets<'q> {
    user_id: &'q str,
    device_id: &'q str,
    fields: &'q [String],
    descending: bool,
    limit: i64,
    width: i32,
    stored: i32,
    begin: i64,
    finish: i64,
}

/// Lists buckets of `width` seconds, a multiple of 60, of a device's `fields`, or of all its fields if
/// that is empty. The range is widened to whole buckets.
pub async fn buckets(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
    width: i32,
    fields: &[String],
    range: &Range,
) -> Result<Vec<Bucket>, sqlx::Error> {
    let Range { from, to, descending, limit, after } = *range;
    let stored = WIDTHS.into_iter().rev().find(|stored| width % stored == 0).unwrap_or(WIDTHS[0]);
    let mut begin = start_of_bucket(from.timestamp(), width);
    // The first bucket that begins at `to` or later.
    let mut finish =
        -start_of_bucket(-to.timestamp() - i64::from(to.timestamp_subsec_nanos() > 0), width);
    match after {
        Some((time, _)) if descending => finish = finish.min(time.timestamp()),
        Some((time, _)) => begin = begin.max(time.timestamp().saturating_add(width.into())),
        None => {}
    }
    let (begin, finish) = (begin.clamp(TIMES.0, TIMES.1), finish.clamp(TIMES.0, TIMES.1));
    let query =
        Buckets { user_id, device_id, fields, descending, limit, width, stored, begin, finish };
    query.up_to_limit(pool).await?.list(pool).await
}

/// The first and the last second that Postgres can represent.
const TIMES: (i64, i64) = (-210_866_803_200, 9_224_318_015_999);

fn start_of_bucket(second: i64, width: i32) -> i64 {
    second.div_euclid(width.into()) * i64::from(width)
}

impl<'q> Buckets<'q> {
    /// Ends the range with the first bucket after which there are enough rows, so that a page does not
    /// read the rest of the range.
    async fn up_to_limit(mut self, pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut query = QueryBuilder::new(
            "select extract(epoch from bucket)::bigint from telemetry.rollup
             where device = (select number from telemetry.device where user_id = ",
        );
        query.push_bind(self.user_id).push(" and device_id = ").push_bind(self.device_id);
        query.push(") and width = ").push_bind(self.stored);
        query.push(" and bucket >= to_timestamp(").push_bind(self.begin);
        query.push(") and bucket < to_timestamp(").push_bind(self.finish).push(")");
        self.push_fields(&mut query);
        let order = if self.descending { "bucket desc, field desc" } else { "bucket, field" };
        query.push(" order by ").push(order);
        // A row of the list is made of at most so many stored ones.
        let ratio = i64::from(self.width / self.stored);
        query.push(" limit 1 offset ").push_bind(self.limit.saturating_mul(ratio));
        let last: Option<i64> = query.build_query_scalar().fetch_optional(pool).await?;
        match last.map(|second| start_of_bucket(second, self.width)) {
            Some(start) if self.descending => self.begin = start,
            Some(start) => self.finish = start + i64::from(self.width),
            None => {}
        }
        Ok(self)
    }

    fn push_fields(&self, query: &mut QueryBuilder<'q, Postgres>) {
        if !self.fields.is_empty() {
            query.push(" and field = any(").push_bind(self.fields).push(")");
        }
    }

    /// Lists the buckets of the range. The rows of an hour lack the open minute of the device, those of
    /// a day also the open hour: see `schema.sql`. They are found in the same snapshot.
    async fn list(&self, pool: &PgPool) -> Result<Vec<Bucket>, sqlx::Error> {
        let mut query = QueryBuilder::new("with range as (select to_timestamp(");
        query.push_bind(self.begin).push(") as begin, to_timestamp(").push_bind(self.finish);
        query
            .push(") as finish, ")
            .push_bind(self.stored)
            .push("::integer as width, make_interval(secs => ");
        query
            .push_bind(self.width)
            .push(") as bucket, number, time from telemetry.device where user_id = ");
        query.push_bind(self.user_id).push(" and device_id = ").push_bind(self.device_id);
        query.push(
            "), span as (
               select number, width, begin, finish from range
               union all
               select number, 60, start, start + interval '1 minute'
               from range, date_bin('1 minute', time, 'epoch') as start
               where width > 60 and start >= begin and start < finish
               union all
               select number, 3600, start, start + interval '1 hour'
               from range, date_bin('1 hour', time, 'epoch') as start
               where width > 3600 and start >= begin and start < finish
             ), part as (
               select r.*, date_bin((select bucket from range), r.bucket, 'epoch') as time
               from span s cross join lateral (
                 select * from telemetry.rollup
                 where device = s.number and width = s.width
                   and bucket >= s.begin and bucket < s.finish",
        );
        self.push_fields(&mut query);
        query.push(
            " offset 0) r
             )
             select time, field, sum(count)::bigint as count, min(min) as min, max(max) as max,
                    telemetry.mean(sum(sum), sum(count)) as avg,
                    (array_agg(first order by first_at, first_position))[1] as first,
                    (array_agg(last order by last_at desc, last_position desc))[1] as last
             from part group by time, field order by time",
        );
        query.push(if self.descending { " desc" } else { "" });
        query.push(", field limit ").push_bind(self.limit);
        query.build_query_as().fetch_all(pool).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_at_a_multiple_of_its_width() {
        assert_eq!([0, 59, 60, -1].map(|second| start_of_bucket(second, 60)), [0, 0, 60, -60]);
    }
}
