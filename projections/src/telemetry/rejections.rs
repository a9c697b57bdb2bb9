//! Refused messages: what was refused, when and why, and how many of each device.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::telemetry::MessageRejected;
use eventsourcing::Recorded;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;

use crate::columns::Columns;
use crate::list::{Key, Section};

/// A message that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = RejectedMessage)]
pub struct Rejection {
    /// Time of receipt.
    pub rejected_at: DateTime<Utc>,
    /// Owner of the device that sent it; null if the topic names none.
    pub user_id: Option<String>,
    /// The device that sent it; null if the topic names none.
    pub device_id: Option<String>,
    /// Topic of MQTT, subject of NATS or path of HTTP that it was sent to.
    pub topic: String,
    /// Why it was refused.
    pub reason: String,
    /// Size of the payload in bytes.
    pub size: i64,
    /// The first 4,096 bytes of the payload.
    pub payload: String,
    /// Encoding of `payload`: `text`, or `hex` if it is not UTF-8.
    pub encoding: String,
    /// Position of its event in the log.
    pub position: i64,
}

/// Conditions on refused messages; `None` is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectionFilter {
    /// Owner of the device.
    pub user_id: Option<String>,
    /// The device, of that owner.
    pub device_id: Option<String>,
    /// Inclusive.
    pub from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub to: Option<DateTime<Utc>>,
}

/// The refused messages of a batch.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    rows: Vec<Rejection>,
    /// Their number, by user and device.
    counts: BTreeMap<(String, String), i64>,
}

impl Rejections {
    pub(super) fn add(&mut self, recorded: &Recorded<()>, rejected: MessageRejected) {
        let (user_id, device_id) = rejected.sender();
        let (user_id, device_id) = (user_id.map(String::from), device_id.map(String::from));
        if let (Some(user_id), Some(device_id)) = (&user_id, &device_id) {
            *self.counts.entry((user_id.clone(), device_id.clone())).or_default() += 1;
        }
        self.rows.push(Rejection {
            rejected_at: recorded.recorded_at,
            user_id,
            device_id,
            topic: rejected.topic,
            reason: rejected.reason,
            size: i64::try_from(rejected.size).unwrap_or(i64::MAX),
            payload: rejected.payload,
            encoding: rejected.encoding,
            position: recorded.position.0,
        });
    }

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Self { rows, counts } = self;
        Columns::of(&rows)
            .column("rejected_at", |row| row.rejected_at)
            .column("user_id", |row| row.user_id.as_deref())
            .column("device_id", |row| row.device_id.as_deref())
            .column("topic", |row| row.topic.as_str())
            .column("reason", |row| row.reason.as_str())
            .column("size", |row| row.size)
            .column("payload", |row| row.payload.as_str())
            .column("encoding", |row| row.encoding.as_str())
            .column("position", |row| row.position)
            .insert("rejection", "", connection)
            .await?;
        let counts: Vec<_> = counts.into_iter().collect();
        Columns::of(&counts)
            .column("user_id", |((user_id, _), _)| user_id.as_str())
            .column("device_id", |((_, device_id), _)| device_id.as_str())
            .column("rejected", |(_, rejected)| *rejected)
            .insert(
                "rejection_count as c",
                "on conflict (user_id, device_id) do update set
                   rejected = c.rejected + excluded.rejected",
                connection,
            )
            .await
    }
}

/// Returns the number of messages refused at `from` or later; none if it is greater than `most`, so that
/// the count costs little.
pub async fn count_rejections(
    pool: &PgPool,
    from: DateTime<Utc>,
    most: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from (
           select from telemetry.rejection where rejected_at >= $1 limit $2 + 1) as counted",
    )
    .bind(from)
    .bind(most)
    .fetch_one(pool)
    .await?;
    Ok((count <= most).then_some(count))
}

/// Lists refused messages, newest first, after the cursor `after`: time and position of the last one
/// seen.
pub async fn rejections(
    pool: &PgPool,
    filter: &RejectionFilter,
    after: Option<(DateTime<Utc>, i64)>,
    limit: i64,
) -> Result<Vec<Rejection>, sqlx::Error> {
    let mut query = QueryBuilder::new("select * from telemetry.rejection where true");
    let section = Section::default()
        .by_some("user_id", filter.user_id.as_deref().map(Key::Text))
        .by_some("device_id", filter.device_id.as_deref().map(Key::Text));
    section.compare(&mut query, "rejected_at", ">=", |query| match filter.from {
        Some(from) => {
            query.push_bind(from);
        }
        None => {
            query.push("'-infinity'");
        }
    });
    let is_after = |(time, _): &(DateTime<Utc>, i64)| filter.to.is_none_or(|to| *time < to);
    match (after.filter(is_after), filter.to) {
        (Some((time, position)), _) => {
            section.compare(&mut query, "rejected_at, position", "<", |query| {
                query.push_bind(time).push(", ").push_bind(position);
            });
        }
        (None, Some(to)) => section.compare(&mut query, "rejected_at", "<", |query| {
            query.push_bind(to);
        }),
        (None, None) => section.compare(&mut query, "rejected_at", "<=", |query| {
            query.push("'infinity'");
        }),
    }
    section.descending(&mut query, "rejected_at desc, position desc", limit);
    query.build_query_as().fetch_all(pool).await
}
