//! Queries of telemetry.

use chrono::{DateTime, Utc};
use eventsourcing::json::{Object, without_fraction};
use serde::Serialize;
use sqlx::{FromRow, PgPool, QueryBuilder};
use utoipa::ToSchema;

use super::names::ReasonName;
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
    /// Number of its messages that were refused: see its `rejections`.
    pub rejected: i64,
    /// Time of its last reading, by its own clock. This and the fields of the reading are null until
    /// it has sent one.
    pub time: Option<DateTime<Utc>>,
    /// The time that the device sent with that reading, if its clock was not set: `time` is the time of
    /// receipt then. Null otherwise.
    pub unset_time: Option<DateTime<Utc>>,
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
    /// Time by the device's clock, or time of receipt if it sends none or its clock was not set.
    pub time: DateTime<Utc>,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// The time that the device sent, if its clock was not set: earlier than the option
    /// `--reading-earliest-time`. `time` is the time of receipt then. Null otherwise.
    pub unset_time: Option<DateTime<Utc>>,
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

/// Cursor of a list of devices: the last one seen. The default is the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Owner of the device.
    pub user_id: String,
    /// The device, unique among its owner's.
    pub device_id: String,
}

/// A page of the readings, or of the buckets, of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Inclusive.
    pub from: DateTime<Utc>,
    /// Exclusive.
    pub to: DateTime<Utc>,
    /// Newest first if true, oldest first otherwise.
    pub descending: bool,
    /// Most rows returned.
    pub limit: i64,
}

/// Devices with the number of their refused messages.
const SELECT_DEVICE: &str = "select *, coalesce(
       (select rejected from telemetry.rejection_count c
        where c.user_id = d.user_id and c.device_id = d.device_id), 0) as rejected
     from telemetry.device d";

/// Lists devices by user and device, after `cursor`; only those of `user_id`, and only those whose
/// `online` is as given, if given.
pub async fn devices(
    pool: &PgPool,
    user_id: Option<&str>,
    online: Option<bool>,
    cursor: &DeviceCursor,
    limit: i64,
) -> Result<Vec<Device>, sqlx::Error> {
    let mut query = QueryBuilder::new(SELECT_DEVICE);
    query.push(" where true");
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

/// Lists devices that have been offline since `since` or longer, the last gone first; only those of
/// `user_id`, if given. `after` is the last one seen: when it went offline, and its ids.
pub async fn offline_devices(
    pool: &PgPool,
    user_id: Option<&str>,
    since: DateTime<Utc>,
    after: Option<&(DateTime<Utc>, String, String)>,
    limit: i64,
) -> Result<Vec<Device>, sqlx::Error> {
    let mut query = QueryBuilder::new(SELECT_DEVICE);
    query.push(" where not online");
    if let Some(user_id) = user_id {
        query.push(" and user_id = ").push_bind(user_id);
    }
    match after.filter(|(time, ..)| *time <= since) {
        Some((time, user, device)) => {
            query.push(" and (online_since, user_id, device_id) < (").push_bind(time);
            query.push(", ").push_bind(user).push(", ").push_bind(device).push(")");
        }
        None => {
            query.push(" and online_since <= ").push_bind(since);
        }
    }
    query.push(" order by online_since desc, user_id desc, device_id desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}

/// Returns a device.
pub async fn device(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
) -> Result<Option<Device>, sqlx::Error> {
    sqlx::query_as(&format!("{SELECT_DEVICE} where user_id = $1 and device_id = $2"))
        .bind(user_id)
        .bind(device_id)
        .fetch_optional(pool)
        .await
}

/// Lists readings of a device, after `after`: time and position of the last reading of the page before.
pub async fn readings(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
    range: &Range,
    after: Option<(DateTime<Utc>, i64)>,
) -> Result<Vec<ReadingRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select * from telemetry.reading
         where device = (select number from telemetry.device where user_id = ",
    );
    query.push_bind(user_id).push(" and device_id = ").push_bind(device_id);
    query.push(") and time >= ").push_bind(range.from).push(" and time < ").push_bind(range.to);
    if let Some((time, position)) = after {
        let beyond = if range.descending { "<" } else { ">" };
        query.push(" and (time, position) ").push(beyond).push(" (").push_bind(time);
        query.push(", ").push_bind(position).push(")");
    }
    let order = if range.descending { "time desc, position desc" } else { "time, position" };
    query.push(" order by ").push(order).push(" limit ").push_bind(range.limit);
    query.build_query_as().fetch_all(pool).await
}
