//! Works as they are asked for: by id, by status, by time; and which may be claimed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::works::{Event, Work};
use eventsourcing::{Decider, Recorded};
use eventstore::CopyRows;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of works.
#[derive(Debug)]
pub struct Works;

/// Status of a work, by its last event.
pub const STATUSES: [&str; 6] =
    ["demanded", "claimed", "started", "completed", "failed", "given_up"];

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    demanded: Vec<Demanded>,
    /// Of works that were there before the batch, and of those in `demanded`.
    updates: HashMap<Uuid, Update>,
}

#[derive(Debug)]
struct Demanded {
    id: Uuid,
    work_code: String,
    add_up_to: i64,
    at: DateTime<Utc>,
}

/// What later events say; what they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Update {
    status: &'static str,
    due: Due,
    attempts: Option<i32>,
    worker: Option<String>,
    reason: Option<String>,
    result: Option<i64>,
    at: DateTime<Utc>,
    version: i64,
}

/// When a work may be claimed next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Due {
    #[default]
    AsBefore,
    At(DateTime<Utc>),
    Never,
}

impl Projection for Works {
    const NAME: &'static str = "works";
    const CATEGORIES: &'static [&'static str] = &[Work::CATEGORY];
    const DDL: &'static str = include_str!("works.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // The store gives a work's stream no other key.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        if let Event::WorkDemanded { work_code, add_up_to } = &event.event {
            changes.demanded.push(Demanded {
                id,
                work_code: work_code.clone(),
                add_up_to: (*add_up_to).into(),
                at: event.recorded_at,
            });
            return;
        }
        let update = changes.updates.entry(id).or_default();
        update.at = event.recorded_at;
        update.version = event.version.0;
        match &event.event {
            Event::WorkDemanded { .. } => {}
            Event::WorkClaimed { worker, attempt, lease_until } => {
                update.status = "claimed";
                update.due = Due::At(*lease_until);
                update.attempts = i32::try_from(*attempt).ok();
                update.worker = Some(worker.clone());
            }
            Event::WorkStarted { .. } => update.status = "started",
            Event::WorkCompleted { result, .. } => {
                update.status = "completed";
                update.due = Due::Never;
                update.result = i64::try_from(*result).ok();
            }
            Event::WorkFailed { reason, retry_at, .. } => {
                update.status = "failed";
                update.due = Due::At(*retry_at);
                update.reason = Some(reason.clone());
            }
            Event::WorkGivenUp { reason, .. } => {
                update.status = "given_up";
                update.due = Due::Never;
                update.reason = Some(reason.clone());
            }
        }
    }

    async fn write(mut changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut rows = CopyRows::default();
        for work in &changes.demanded {
            let update = changes.updates.remove(&work.id);
            work.push(&update.unwrap_or_else(|| work.untouched()), &mut rows);
        }
        rows.send(connection, COPY_DEMANDED).await?;
        if !changes.updates.is_empty() {
            update(&changes.updates, connection).await?;
        }
        Ok(())
    }
}

const COPY_DEMANDED: &str = "copy work (id, work_code, add_up_to, done, status, result, attempts,
                                        worker, reason, due_at, created_at, updated_at, version)
                             from stdin (format binary)";

impl Demanded {
    /// What to say of a work that nothing has happened to.
    fn untouched(&self) -> Update {
        Update { status: "demanded", at: self.at, version: 1, ..Update::default() }
    }

    /// Adds a row in the order of [`COPY_DEMANDED`]: as the work is at the end of the batch.
    fn push(&self, now: &Update, rows: &mut CopyRows) {
        rows.row(13);
        rows.bytes(self.id.as_bytes());
        rows.text(&self.work_code);
        rows.int8(self.add_up_to);
        rows.boolean(now.status == "completed");
        rows.text(now.status);
        rows.nullable(now.result, CopyRows::int8);
        rows.int4(now.attempts.unwrap_or(0));
        rows.nullable(now.worker.as_deref(), CopyRows::text);
        rows.nullable(now.reason.as_deref(), CopyRows::text);
        rows.nullable(
            match now.due {
                Due::AsBefore => Some(self.at), // It may be claimed at once.
                Due::At(at) => Some(at),
                Due::Never => None,
            },
            CopyRows::time,
        );
        rows.time(self.at);
        rows.time(now.at);
        rows.int8(now.version);
    }
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let due = |update: &Update| match update.due {
        Due::At(at) => Some(at),
        Due::AsBefore | Due::Never => None,
    };
    sqlx::query(
        "update work as w set
           status = n.status, done = n.status = 'completed',
           due_at = case when n.due_stays then w.due_at else n.due_at end,
           attempts = coalesce(n.attempts, w.attempts), worker = coalesce(n.worker, w.worker),
           reason = coalesce(n.reason, w.reason), result = coalesce(n.result, w.result),
           updated_at = n.at, version = n.version
         from unnest($1::uuid[], $2::text[], $3::boolean[], $4::timestamptz[], $5::integer[],
                     $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::bigint[])
           as n (id, status, due_stays, due_at, attempts, worker, reason, result, at, version)
         where w.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.status).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.due == Due::AsBefore).collect::<Vec<_>>())
    .bind(updates.values().map(due).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.attempts).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.worker.as_deref()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.reason.as_deref()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.result).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.at).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Work)]
pub struct Row {
    pub id: Uuid,
    /// `api-…` or `consumer-…`, by the way it came in.
    pub work_code: String,
    pub add_up_to: i64,
    pub done: bool,
    /// The sum of 0 to `add_up_to`, once it is done.
    pub result: Option<i64>,
    pub status: String,
    pub attempts: i32,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// Seconds since the epoch.
    pub created_on: i64,
    /// Seconds since the epoch.
    pub updated_on: i64,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
    /// For cursors: `created_on` in full.
    #[serde(skip)]
    pub created_at: DateTime<Utc>,
}

/// Which works are asked for; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub done: Option<bool>,
    pub status: Option<String>,
    pub work_code: Option<String>,
    /// Inclusive.
    pub created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub created_to: Option<DateTime<Utc>>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, work_code, add_up_to, done, result, status, attempts, reason, version,
                    floor(extract(epoch from created_at))::bigint as created_on,
                    floor(extract(epoch from updated_at))::bigint as updated_on, created_at
             from works.work ",
            $rest
        )
    };
}

/// One work.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// Works, newest first, after the one that was created at `after` and has that id.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "where ($1::boolean is null or done = $1) and ($2::text is null or status = $2)
           and ($3::text is null or work_code = $3)
           and ($4::timestamptz is null or created_at >= $4)
           and ($5::timestamptz is null or created_at < $5)
           and ($6::timestamptz is null or (created_at, id) < ($6, $7))
         order by created_at desc, id desc limit $8"
    ))
    .bind(filter.done)
    .bind(&filter.status)
    .bind(&filter.work_code)
    .bind(filter.created_from)
    .bind(filter.created_to)
    .bind(after.map(|(created_at, _)| created_at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Works that may be claimed at `now`, longest due first; and when the next one will be.
pub async fn claimable(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<(Vec<Uuid>, Option<DateTime<Utc>>), sqlx::Error> {
    let due =
        sqlx::query_scalar("select id from works.work where due_at <= $1 order by due_at limit $2")
            .bind(now)
            .bind(limit)
            .fetch_all(pool)
            .await?;
    let next = sqlx::query_scalar("select min(due_at) from works.work where due_at > $1")
        .bind(now)
        .fetch_one(pool)
        .await?;
    Ok((due, next))
}
