//! Works by id, by status and by time; and which of them may be claimed.

mod query;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::works::{Event, Work};
use eventsourcing::{Decider, Recorded};
use eventstore::CopyRows;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::by_name::{ByName, Named};
use crate::columns::Columns;
use crate::projection::Projection;

pub use query::{Filter, claimable, get, list};

/// The read model of works.
#[derive(Debug)]
pub struct Works;

/// Status of a work: what its last event made of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// Waits for its first claim.
    #[default]
    Demanded,
    /// A worker holds the lease.
    Claimed,
    /// The worker adds.
    Started,
    /// The result is there.
    Completed,
    /// The last attempt failed; another one follows.
    Failed,
    /// The last attempt failed, and no other follows.
    GivenUp,
}

impl Named for Status {
    const SCHEMA: &'static str = "WorkStatus";
    const ALL: &'static [Self] = &[
        Self::Demanded,
        Self::Claimed,
        Self::Started,
        Self::Completed,
        Self::Failed,
        Self::GivenUp,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Demanded => "demanded",
            Self::Claimed => "claimed",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// A [`Status`] in a row.
pub type StatusName = ByName<Status>;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    /// New works, as they are before any later event.
    demanded: Vec<Row>,
    /// By id, of works from before the batch and of those in `demanded`.
    updates: HashMap<Uuid, Update>,
}

/// What later events change; `None` leaves a column as it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Update {
    status: Status,
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
    Unchanged,
    At(DateTime<Utc>),
    Never,
}

impl Projection for Works {
    const NAME: &'static str = "works";
    /// 2 changed indexes.
    const VERSION: i32 = 2;
    const CATEGORIES: &'static [&'static str] = &[Work::CATEGORY];
    const DDL: &'static str = include_str!("schema.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // Keys of this category are ids: the deciders' streams are named that way only.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        if let Event::WorkDemanded { work_code, add_up_to } = &event.event {
            let row = Row::demanded(id, work_code.clone(), *add_up_to, event.recorded_at);
            changes.demanded.push(row);
            return;
        }
        let update = changes.updates.entry(id).or_default();
        update.at = event.recorded_at;
        update.version = event.version.0;
        match &event.event {
            Event::WorkDemanded { .. } => {}
            Event::WorkClaimed { worker, attempt, lease_until } => {
                update.status = Status::Claimed;
                update.due = Due::At(*lease_until);
                update.attempts = i32::try_from(*attempt).ok();
                update.worker = Some(worker.clone());
            }
            Event::WorkStarted { .. } => update.status = Status::Started,
            Event::WorkCompleted { result, .. } => {
                update.status = Status::Completed;
                update.due = Due::Never;
                update.result = i64::try_from(*result).ok();
            }
            Event::WorkFailed { reason, retry_at, .. } => {
                update.status = Status::Failed;
                update.due = Due::At(*retry_at);
                update.reason = Some(reason.clone());
            }
            Event::WorkGivenUp { reason, .. } => {
                update.status = Status::GivenUp;
                update.due = Due::Never;
                update.reason = Some(reason.clone());
            }
        }
    }

    async fn write(mut changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut rows = CopyRows::default();
        for work in &changes.demanded {
            let update = changes.updates.remove(&work.id);
            work.copy(&update.unwrap_or_else(|| work.unchanged()), &mut rows);
        }
        rows.send(connection, COPY_DEMANDED).await?;
        let updates: Vec<_> = changes.updates.into_iter().collect();
        let due = |update: &Update| match update.due {
            Due::At(at) => Some(at),
            Due::Unchanged | Due::Never => None,
        };
        Columns::of(&updates)
            .column("id", |(id, _)| *id)
            .column("status", |(_, update)| update.status.name())
            .column("due_stays", |(_, update)| update.due == Due::Unchanged)
            .column("due_at", |(_, update)| due(update))
            .column("attempts", |(_, update)| update.attempts)
            .column("worker", |(_, update)| update.worker.as_deref())
            .column("reason", |(_, update)| update.reason.as_deref())
            .column("result", |(_, update)| update.result)
            .column("at", |(_, update)| update.at)
            .column("version", |(_, update)| update.version)
            .execute(
                "update work as w set
                   status = n.status, done = n.status = 'completed',
                   due_at = case when n.due_stays then w.due_at else n.due_at end,
                   attempts = coalesce(n.attempts, w.attempts),
                   worker = coalesce(n.worker, w.worker), reason = coalesce(n.reason, w.reason),
                   result = coalesce(n.result, w.result), updated_at = n.at, version = n.version
                 from {n} where w.id = n.id",
                connection,
            )
            .await
    }
}

const COPY_DEMANDED: &str = "copy work (id, work_code, add_up_to, done, status, result, attempts,
                                        worker, reason, due_at, created_at, updated_at, version)
                             from stdin (format binary)";

/// A work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Work)]
pub struct Row {
    /// Id of the work.
    pub id: Uuid,
    /// `api-…` or `consumer-…`, by the way it came in.
    pub work_code: String,
    /// The numbers from 0 to this one are added.
    pub add_up_to: i64,
    /// Whether it is completed.
    pub done: bool,
    /// The sum of 0 to `add_up_to`; null until it is completed.
    pub result: Option<i64>,
    /// Status of the work.
    pub status: StatusName,
    /// Number of claims.
    pub attempts: i32,
    /// Why the last attempt failed; null if none has.
    pub reason: Option<String>,
    /// Time of the demand.
    pub created_at: DateTime<Utc>,
    /// Time of the last event of the work.
    pub updated_at: DateTime<Utc>,
    /// `created_at` in seconds since the epoch; use `created_at`.
    #[schema(deprecated)]
    pub created_on: i64,
    /// `updated_at` in seconds since the epoch; use `updated_at`.
    #[schema(deprecated)]
    pub updated_on: i64,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

impl Row {
    /// A work right after the demand.
    pub fn demanded(id: Uuid, work_code: String, add_up_to: u32, at: DateTime<Utc>) -> Self {
        Self {
            id,
            work_code,
            add_up_to: add_up_to.into(),
            done: false,
            result: None,
            status: ByName(Status::Demanded),
            attempts: 0,
            reason: None,
            created_at: at,
            updated_at: at,
            created_on: at.timestamp(),
            updated_on: at.timestamp(),
            version: 1,
        }
    }

    fn unchanged(&self) -> Update {
        Update { at: self.created_at, version: self.version, ..Update::default() }
    }

    /// Adds the work as it is after `update`, in the order of [`COPY_DEMANDED`].
    fn copy(&self, update: &Update, rows: &mut CopyRows) {
        rows.row(13);
        rows.bytes(self.id.as_bytes());
        rows.text(&self.work_code);
        rows.int8(self.add_up_to);
        rows.boolean(update.status == Status::Completed);
        rows.text(update.status.name());
        rows.nullable(update.result, CopyRows::int8);
        rows.int4(update.attempts.unwrap_or(self.attempts));
        rows.nullable(update.worker.as_deref(), CopyRows::text);
        rows.nullable(update.reason.as_deref(), CopyRows::text);
        rows.nullable(
            match update.due {
                Due::Unchanged => Some(self.created_at), // It may be claimed at once.
                Due::At(at) => Some(at),
                Due::Never => None,
            },
            CopyRows::time,
        );
        rows.time(self.created_at);
        rows.time(update.at);
        rows.int8(update.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, fold};
    use domain::works::stream;

    fn demanded(id: Uuid) -> (eventsourcing::StreamId, Event) {
        (stream(id), Event::WorkDemanded { work_code: "api-1".into(), add_up_to: 4 })
    }

    #[test]
    fn later_events_of_a_batch_end_in_one_update() {
        let id = Uuid::from_u128(7);
        let (worker, lease_until) = ("worker-1".to_owned(), at(60));
        let changes = fold::<Works>([
            demanded(id),
            (stream(id), Event::WorkClaimed { worker: worker.clone(), attempt: 1, lease_until }),
            (stream(id), Event::WorkStarted { attempt: 1 }),
            (stream(id), Event::WorkCompleted { attempt: 1, result: 10 }),
        ]);
        assert_eq!(changes.demanded, [Row::demanded(id, "api-1".into(), 4, at(1))]);
        let expected = Update {
            status: Status::Completed,
            due: Due::Never,
            attempts: Some(1),
            worker: Some(worker),
            reason: None,
            result: Some(10),
            at: at(4),
            version: 4,
        };
        assert_eq!(changes.updates, HashMap::from([(id, expected)]));
    }

    #[test]
    fn a_failed_work_is_due_at_its_retry_and_one_given_up_never() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (reason, retry_at) = ("too slow".to_owned(), at(99));
        let changes = fold::<Works>([
            (stream(first), Event::WorkFailed { attempt: 1, reason: reason.clone(), retry_at }),
            (stream(second), Event::WorkGivenUp { attempts: 3, reason }),
        ]);
        assert_eq!(changes.updates[&first].due, Due::At(at(99)));
        assert_eq!(changes.updates[&second].due, Due::Never);
        assert_eq!(changes.updates[&second].status, Status::GivenUp);
    }
}
