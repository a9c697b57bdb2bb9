//! Hosts as they are asked for: their samples, newest first.

use chrono::{DateTime, Utc};
use domain::host::{Event, HOST, Sample};
use eventsourcing::{Position, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;

use crate::projection::Projection;

/// The read model of hosts.
#[derive(Debug)]
pub struct Host;

/// The samples of a batch.
#[derive(Debug, Default)]
pub struct Changes(Vec<Received>);

#[derive(Debug)]
struct Received {
    sample: Sample,
    at: DateTime<Utc>,
    position: Position,
}

impl Projection for Host {
    const NAME: &'static str = "host";
    const CATEGORIES: &'static [&'static str] = &[HOST];
    const DDL: &'static str = include_str!("host.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(Changes(samples): &mut Changes, event: Recorded<Event>) {
        match &event.event {
            Event::HostSampled(sample) => {
                let (at, position) = (event.recorded_at, event.position);
                samples.push(Received { sample: sample.clone(), at, position });
            }
        }
    }

    async fn write(
        Changes(samples): Changes,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let times = |of: fn(&Received) -> DateTime<Utc>| samples.iter().map(of).collect::<Vec<_>>();
        let numbers = |of: fn(&Sample) -> u64| {
            // No sample says more: its events are checked.
            let number = |sample: &Sample| i64::try_from(of(sample)).unwrap_or(i64::MAX);
            samples.iter().map(|received| number(&received.sample)).collect::<Vec<_>>()
        };
        let loads = |which: usize| {
            samples.iter().map(|received| received.sample.load[which]).collect::<Vec<_>>()
        };
        sqlx::query(
            "insert into sample (host, time, received_at, users, storage_total, storage_used,
                                 storage_free, memory_total, memory_used, load, position)
             select host, time, received_at, users, storage_total, storage_used, storage_free,
                    memory_total, memory_used, array[load_1, load_5, load_15], position
             from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[],
                         $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
                         $10::float8[], $11::float8[], $12::float8[], $13::bigint[])
               as n (host, time, received_at, users, storage_total, storage_used, storage_free,
                     memory_total, memory_used, load_1, load_5, load_15, position)",
        )
        .bind(samples.iter().map(|received| received.sample.host.as_str()).collect::<Vec<_>>())
        .bind(times(|received| received.sample.time))
        .bind(times(|received| received.at))
        .bind(numbers(|sample| sample.users.into()))
        .bind(numbers(|sample| sample.storage.total_bytes))
        .bind(numbers(|sample| sample.storage.used_bytes))
        .bind(numbers(|sample| sample.storage.free_bytes))
        .bind(numbers(|sample| sample.memory.total_bytes))
        .bind(numbers(|sample| sample.memory.used_bytes))
        .bind(loads(0))
        .bind(loads(1))
        .bind(loads(2))
        .bind(samples.iter().map(|received| received.position.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A sample of a host.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSample)]
pub struct Row {
    pub host: String,
    /// When it was taken, by the host's clock.
    pub time: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// Accounts of people.
    pub users: i64,
    #[sqlx(flatten)]
    pub storage: Storage,
    #[sqlx(flatten)]
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: Vec<f64>,
    /// Of its event in the log.
    pub position: i64,
}

/// The file system that holds `/`. What is kept for the administrator is neither used nor free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSampleStorage)]
pub struct Storage {
    #[sqlx(rename = "storage_total")]
    pub total_bytes: i64,
    #[sqlx(rename = "storage_used")]
    pub used_bytes: i64,
    #[sqlx(rename = "storage_free")]
    pub free_bytes: i64,
}

/// Main memory. Caches are not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = HostSampleMemory)]
pub struct Memory {
    #[sqlx(rename = "memory_total")]
    pub total_bytes: i64,
    #[sqlx(rename = "memory_used")]
    pub used_bytes: i64,
}

/// Which samples are asked for; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub host: Option<String>,
    /// Inclusive.
    pub from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub to: Option<DateTime<Utc>>,
}

macro_rules! select {
    ($host:literal) => {
        concat!(
            "select * from host.sample where ",
            $host,
            " and ($2::timestamptz is null or time >= $2)
              and ($3::timestamptz is null or time < $3)
              and ($4::timestamptz is null or (time, host) < ($4, $5))
             order by time desc, host desc limit $6"
        )
    };
}

/// Samples, newest first, after the one of that time and host.
pub async fn samples(
    pool: &PgPool,
    filter: &Filter,
    after: Option<(DateTime<Utc>, String)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    // Two texts, so that each is one walk along an index.
    let sql =
        if filter.host.is_some() { select!("host = $1") } else { select!("$1::text is null") };
    let (time, host) = after.unzip();
    sqlx::query_as(sql)
        .bind(&filter.host)
        .bind(filter.from)
        .bind(filter.to)
        .bind(time)
        .bind(host)
        .bind(limit)
        .fetch_all(pool)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of one host at one time cannot be: they are one event. So nothing is merged here.
    #[test]
    fn every_sample_is_a_row() {
        let event: Event = eventsourcing::event::decode(
            "host_sampled",
            1,
            include_str!("../../domain/golden/host/host_sampled.v1.json"),
        )
        .unwrap();
        let recorded = |position| Recorded {
            position: Position(position),
            id: uuid::Uuid::nil(),
            stream: eventsourcing::StreamId::new(HOST, "web-1.example.org"),
            version: eventsourcing::Version(position),
            recorded_at: DateTime::from_timestamp(1_767_323_046, 0).unwrap(),
            metadata: eventsourcing::Metadata::default(),
            event: event.clone(),
        };
        let mut changes = Changes::default();
        Host::project(&mut changes, recorded(1));
        Host::project(&mut changes, recorded(2));
        let positions: Vec<_> = changes.0.iter().map(|received| received.position.0).collect();
        assert_eq!(positions, [1, 2]);
        assert_eq!(changes.0[0].sample.users, 5);
    }
}
