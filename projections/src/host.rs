//! Samples of hosts, newest first.

use chrono::{DateTime, Utc};
use domain::host::{Event, HOST, Sample};
use eventsourcing::{Position, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;

use crate::columns::Columns;
use crate::list::{Key, Section};
use crate::projection::Projection;

/// The read model of hosts.
#[derive(Debug)]
pub struct Host;

/// The samples of a batch.
#[derive(Debug, Default)]
pub struct Changes(Vec<Row>);

impl Projection for Host {
    const NAME: &'static str = "host";
    const CATEGORIES: &'static [&'static str] = &[HOST];
    const DDL: &'static str = include_str!("host.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(Changes(samples): &mut Changes, event: Recorded<Event>) {
        match event.event {
            Event::HostSampled(sample) => {
                samples.push(Row::new(sample, event.recorded_at, event.position));
            }
        }
    }

    async fn write(
        Changes(samples): Changes,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        Columns::of(&samples)
            .column("host", |row| row.host.as_str())
            .column("time", |row| row.time)
            .column("received_at", |row| row.received_at)
            .column("users", |row| row.users)
            .column("storage_total", |row| row.storage.total_bytes)
            .column("storage_used", |row| row.storage.used_bytes)
            .column("storage_free", |row| row.storage.free_bytes)
            .column("memory_total", |row| row.memory.total_bytes)
            .column("memory_used", |row| row.memory.used_bytes)
            .column("load_1", |row| row.load[0])
            .column("load_5", |row| row.load[1])
            .column("load_15", |row| row.load[2])
            .column("position", |row| row.position)
            .execute(
                "insert into sample (host, time, received_at, users, storage_total, storage_used,
                                     storage_free, memory_total, memory_used, load, position)
                 select host, time, received_at, users, storage_total, storage_used, storage_free,
                        memory_total, memory_used, array[load_1, load_5, load_15], position
                 from {n}",
                connection,
            )
            .await
    }
}

/// A sample of a host.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSample)]
pub struct Row {
    /// Name of the host.
    pub host: String,
    /// Time of the sample, by the host's clock.
    pub time: DateTime<Utc>,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// Number of accounts of people.
    pub users: i64,
    /// Space of the file system that holds `/`.
    #[sqlx(flatten)]
    pub storage: Storage,
    /// Main memory.
    #[sqlx(flatten)]
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: Vec<f64>,
    /// Position of its event in the log.
    pub position: i64,
}

impl Row {
    fn new(sample: Sample, received_at: DateTime<Utc>, position: Position) -> Self {
        // The domain refuses larger numbers.
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            host: sample.host.to_string(),
            time: sample.time,
            received_at,
            users: sample.users.into(),
            storage: Storage {
                total_bytes: signed(sample.storage.total_bytes),
                used_bytes: signed(sample.storage.used_bytes),
                free_bytes: signed(sample.storage.free_bytes),
            },
            memory: Memory {
                total_bytes: signed(sample.memory.total_bytes),
                used_bytes: signed(sample.memory.used_bytes),
            },
            load: sample.load.to_vec(),
            position: position.0,
        }
    }
}

/// The file system that holds `/`, in bytes. Space reserved for the administrator is neither used nor
/// free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSampleStorage)]
pub struct Storage {
    /// Size in bytes.
    #[sqlx(rename = "storage_total")]
    pub total_bytes: i64,
    /// Bytes in use.
    #[sqlx(rename = "storage_used")]
    pub used_bytes: i64,
    /// Bytes free for users.
    #[sqlx(rename = "storage_free")]
    pub free_bytes: i64,
}

/// Main memory in bytes. Caches do not count as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSampleMemory)]
pub struct Memory {
    /// Size in bytes.
    #[sqlx(rename = "memory_total")]
    pub total_bytes: i64,
    /// Bytes in use.
    #[sqlx(rename = "memory_used")]
    pub used_bytes: i64,
}

/// Conditions on samples; `None` is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the host.
    pub host: Option<String>,
    /// Inclusive.
    pub from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub to: Option<DateTime<Utc>>,
}

/// Lists samples, newest first, after the cursor `after`: time and host of the last one seen.
pub async fn samples(
    pool: &PgPool,
    filter: &Filter,
    after: Option<(DateTime<Utc>, String)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new("select * from host.sample where true");
    let section = Section::default().by_some("host", filter.host.as_deref().map(Key::Text));
    section.compare(&mut query, "time", ">=", |query| match filter.from {
        Some(from) => {
            query.push_bind(from);
        }
        None => {
            query.push("'-infinity'");
        }
    });
    let is_after = |(time, _): &(DateTime<Utc>, String)| filter.to.is_none_or(|to| *time < to);
    match (after.filter(is_after), filter.to) {
        // Samples of one host have different times.
        (Some((time, _)), _) if filter.host.is_some() => {
            section.compare(&mut query, "time", "<", |query| {
                query.push_bind(time);
            });
        }
        (Some((time, host)), _) => section.compare(&mut query, "time, host", "<", |query| {
            query.push_bind(time).push(", ").push_bind(host);
        }),
        (None, Some(to)) => section.compare(&mut query, "time", "<", |query| {
            query.push_bind(to);
        }),
        (None, None) => section.compare(&mut query, "time", "<=", |query| {
            query.push("'infinity'");
        }),
    }
    let order = if filter.host.is_some() { "time desc" } else { "time desc, host desc" };
    section.descending(&mut query, order, limit);
    query.build_query_as().fetch_all(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fold, golden};
    use eventsourcing::StreamId;

    /// Samples of one host at one time are one event: the fold has no duplicates to merge.
    #[test]
    fn every_sample_is_a_row() {
        let stream = StreamId::new(HOST, "web-1.example.org");
        let event: Event = golden("host", "host_sampled");
        let Changes(rows) = fold::<Host>([(stream.clone(), event.clone()), (stream, event)]);
        assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((rows[0].users, rows[0].load.len()), (5, 3));
    }
}
