//! Queries of telemetry.

use chrono::{DateTime, Utc};
use eventsourcing::json::Plain;
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use utoipa::ToSchema;

use super::names::ReasonName;
use super::rollup::WIDTHS;

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
    pub battery: Option<i32>,
    /// Every further field of the reading; null if it has none.
    #[sqlx(json(nullable))]
    #[schema(value_type = Option<Value>)]
    pub extra_data: Option<Plain>,
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
    pub battery: Option<i32>,
    /// Every further field; null if the reading has none.
    #[sqlx(json(nullable))]
    #[schema(value_type = Option<Value>)]
    pub extra_data: Option<Plain>,
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
    /// Mean of the values.
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
    // Two statements, so that each is one index scan.
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
