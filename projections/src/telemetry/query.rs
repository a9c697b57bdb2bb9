//! What can be asked of telemetry.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use utoipa::ToSchema;

use super::rollup::WIDTHS;

/// A device and the last that was heard of it.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct Device {
    pub user_id: String,
    pub device_id: String,
    pub first_seen_at: DateTime<Utc>,
    /// Receipt of its last message of any kind.
    pub last_seen_at: DateTime<Utc>,
    /// How many readings it has sent.
    pub readings: i64,
    /// Time of its last reading, by its own clock.
    pub time: Option<DateTime<Utc>>,
    pub sequence_id: Option<i64>,
    pub boot_id: Option<String>,
    pub temperature: Option<f64>,
    pub battery: Option<i32>,
    pub extra_data: Option<Value>,
    /// Whether it is there; missing until anything was told of it.
    pub online: Option<bool>,
    /// Since when it is, or is not.
    pub online_since: Option<DateTime<Utc>>,
    /// How that is known: online by its `birth`, or because it was `heard`; offline by its `will`,
    /// or because it was `inactive`: silent for longer than its user allows.
    pub reason: Option<String>,
    /// The newest session it, or its broker, spoke of.
    pub session_seq: Option<i64>,
}

/// A reading as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct ReadingRow {
    pub time: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    pub sequence_id: i64,
    pub boot_id: String,
    pub temperature: Option<f64>,
    pub battery: Option<i32>,
    pub extra_data: Option<Value>,
    /// Of its event in the log.
    pub position: i64,
}

/// What the values of a field amount to in one bucket of time.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub struct Bucket {
    /// Where the bucket begins; buckets are aligned to the Unix epoch.
    pub time: DateTime<Utc>,
    pub field: String,
    pub count: i64,
    pub min: f64,
    pub max: f64,
    pub avg: f64,
    pub first: f64,
    pub last: f64,
}

/// Where the next page of devices begins: after this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCursor {
    pub user_id: String,
    pub device_id: String,
}

/// Which readings of a device are asked for, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Inclusive.
    pub from: DateTime<Utc>,
    /// Exclusive.
    pub to: DateTime<Utc>,
    /// Newest first.
    pub descending: bool,
    pub limit: i64,
    /// Time and position of the last reading of the page before; position 0 for buckets.
    pub after: Option<(DateTime<Utc>, i64)>,
}

/// Devices by user and name, after `cursor`; of all users, or one; all of them, or those that are
/// known to be online, or not to be.
pub async fn devices(
    pool: &PgPool,
    user_id: Option<&str>,
    online: Option<bool>,
    cursor: &DeviceCursor,
    limit: i64,
) -> Result<Vec<Device>, sqlx::Error> {
    sqlx::query_as(
        "select * from telemetry.device
         where (user_id, device_id) > ($1, $2) and ($3::text is null or user_id = $3)
           and ($4::boolean is null or online = $4)
         order by user_id, device_id limit $5",
    )
    .bind(&cursor.user_id)
    .bind(&cursor.device_id)
    .bind(user_id)
    .bind(online)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// One device.
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

/// Readings of a device as they were recorded.
pub async fn readings(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
    range: &Range,
) -> Result<Vec<ReadingRow>, sqlx::Error> {
    // Two texts, so that each is one walk along the key.
    let sql = if range.descending {
        "select * from telemetry.reading
         where device = (select number from telemetry.device where user_id = $1 and device_id = $2)
           and time >= $3 and time < $4
           and ($5::timestamptz is null or (time, position) < ($5, $6))
         order by time desc, position desc limit $7"
    } else {
        "select * from telemetry.reading
         where device = (select number from telemetry.device where user_id = $1 and device_id = $2)
           and time >= $3 and time < $4
           and ($5::timestamptz is null or (time, position) > ($5, $6))
         order by time, position limit $7"
    };
    sqlx::query_as(sql)
        .bind(user_id)
        .bind(device_id)
        .bind(range.from)
        .bind(range.to)
        .bind(range.after.map(|(time, _)| time))
        .bind(range.after.map(|(_, position)| position))
        .bind(range.limit)
        .fetch_all(pool)
        .await
}

/// Values of a device's fields by buckets of `width` seconds, a multiple of a minute; all fields
/// if none is named. The range is widened to whole buckets.
pub async fn buckets(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
    width: i32,
    fields: &[String],
    range: &Range,
) -> Result<Vec<Bucket>, sqlx::Error> {
    let stored = WIDTHS.into_iter().rev().find(|stored| width % stored == 0).unwrap_or(WIDTHS[0]);
    let sql = if range.descending { BUCKETS_DESCENDING } else { BUCKETS_ASCENDING };
    sqlx::query_as(sql)
        .bind(user_id)
        .bind(device_id)
        .bind(stored)
        .bind(width)
        .bind(fields)
        .bind(range.from)
        .bind(range.to)
        .bind(range.after.map(|(time, _)| time))
        .bind(range.limit)
        .fetch_all(pool)
        .await
}

macro_rules! buckets {
    ($beyond:literal, $order:literal) => {
        concat!(
            "with part as (
               select *, date_bin(make_interval(secs => $4), bucket, 'epoch') as time
               from telemetry.rollup
               where device = (select number from telemetry.device
                               where user_id = $1 and device_id = $2)
                 and width = $3 and (cardinality($5::text[]) = 0 or field = any($5))
                 and bucket >= date_bin(make_interval(secs => $4), $6, 'epoch') and bucket < $7
             )
             select time, field, sum(count)::bigint as count, min(min) as min, max(max) as max,
                    (sum(sum) / 1000000000 / sum(count))::float8 as avg,
                    (array_agg(first order by first_at, first_position))[1] as first,
                    (array_agg(last order by last_at desc, last_position desc))[1] as last
             from part where $8::timestamptz is null or time ",
            $beyond,
            " $8 group by time, field order by time ",
            $order,
            ", field limit $9"
        )
    };
}

const BUCKETS_ASCENDING: &str = buckets!(">", "asc");
const BUCKETS_DESCENDING: &str = buckets!("<", "desc");
