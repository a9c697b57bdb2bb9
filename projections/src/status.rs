//! State and lag of every consumer: measured against the log's own head, and with a heartbeat, so
//! that a dead consumer is not reported as live.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventstore::LogReader;
use serde::Serialize;
use sqlx::Row;
use utoipa::ToSchema;

use crate::rebuild::LOCK;

/// A consumer without a heartbeat for so long is reported as stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// The shortest time a rate is measured over, in seconds: that of a consumer that has just started.
const RATE_OVER_SECONDS: f64 = 1.0;
/// A consumer whose first unhandled event is older than this, in seconds, is reported as catching
/// up; its rate shows whether it makes progress.
const LIVE_WITHIN_SECONDS: f64 = 5.0;

/// State of a consumer of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// At most 5 seconds behind the log.
    Live,
    /// Further behind.
    CatchingUp,
    /// A rebuild fills new tables while the live ones serve.
    Rebuilding,
    /// No heartbeat for more than 10 seconds.
    Stalled,
    /// Never started.
    NeverRun,
    /// A newer build wrote the next event; the consumer waits for one to handle it.
    Waiting,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Live,
        Self::CatchingUp,
        Self::Rebuilding,
        Self::Stalled,
        Self::NeverRun,
        Self::Waiting,
    ];

    /// The state in snake case, as JSON, metrics and the command line show it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::CatchingUp => "catching_up",
            Self::Rebuilding => "rebuilding",
            Self::Waiting => "waiting",
            Self::Stalled => "stalled",
            Self::NeverRun => "never_run",
        }
    }
}

/// State and lag of a consumer of the log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Status {
    /// Name of the consumer.
    pub name: String,
    /// What the consumer is doing.
    pub state: State,
    /// Checkpoint: every event up to this position has been handled.
    pub position: i64,
    /// Number of events after the checkpoint.
    pub events_behind: i64,
    /// Age in seconds of the first event after the checkpoint; 0 if there is none.
    pub seconds_behind: f64,
    /// Events a second that the checkpoint moved past in the last five to ten seconds; 0 for a consumer
    /// that does not run.
    pub events_per_second: f64,
    /// Time of the last heartbeat.
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// Age of the last heartbeat in seconds.
    pub heartbeat_age_seconds: Option<f64>,
    /// Number of parked streams.
    pub parked: i64,
    /// Seconds that the time of the last event is ahead of the clock of Postgres, because that clock
    /// was set back; `seconds_behind` is too low by this. Normally 0.
    pub clock_ahead_seconds: f64,
    /// Position that a rebuild has reached, also an interrupted one; null if there is none.
    pub rebuild_position: Option<i64>,
    /// Why the consumer makes no progress; null if it does.
    pub error: Option<String>,
    /// Time since which it makes no progress.
    pub error_since: Option<DateTime<Utc>>,
    /// What an operator should know although the consumer makes progress.
    pub warning: Option<String>,
}

/// Returns the status of each of `names`, in order of name. Names come from the code, so a consumer
/// that never ran is among them.
pub async fn statuses(reader: &LogReader, names: &[&str]) -> Result<Vec<Status>, sqlx::Error> {
    let rows = sqlx::query(
        "select n.name, coalesce(c.position, 0) as position, c.heartbeat_at,
                h.position - coalesce(c.position, 0) as events_behind,
                coalesce(extract(epoch from clock_timestamp() - next.recorded_at), 0)::float8
                  as seconds_behind,
                extract(epoch from clock_timestamp() - c.heartbeat_at)::float8 as heartbeat_age,
                coalesce(
                  (c.position - c.earlier_position)
                    / greatest(extract(epoch from clock_timestamp() - c.earlier_at)::float8, $3),
                  0)::float8 as events_per_second,
                (select count(*) from log.parked p where p.consumer = n.name and p.parked)
                  as parked,
                exists (
                  select from log.parked p
                  where p.consumer = n.name and not p.parked and p.attempts = 0
                    and p.position > c.position
                ) as waiting,
                extract(epoch from h.recorded_at - clock_timestamp())::float8 as clock_ahead,
                rebuild.position as rebuild_position,
                c.error, c.error_since, c.warning,
                exists (
                  select from pg_locks l
                  where l.locktype = 'advisory' and l.classid = $2::oid and l.objsubid = 2
                    and l.objid = (hashtext(n.name)::bigint & 4294967295)::oid and l.granted
                    and l.database = (select oid from pg_database where datname = current_database())
                ) as rebuilding
         from unnest($1::text[]) as n (name)
         cross join log.head h
         left join log.checkpoint c on c.consumer = n.name
         left join log.checkpoint rebuild on rebuild.consumer = n.name || '__rebuild'
         left join log.event next on next.position = coalesce(c.position, 0) + 1
         order by n.name",
    )
    .bind(names)
    .bind(i64::from(LOCK))
    .bind(RATE_OVER_SECONDS)
    .fetch_all(reader.pool())
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &sqlx::postgres::PgRow) -> Result<Status, sqlx::Error> {
    let heartbeat_at: Option<DateTime<Utc>> = row.try_get("heartbeat_at")?;
    let events_behind = row.try_get::<i64, _>("events_behind")?.max(0);
    let seconds_behind = row.try_get::<f64, _>("seconds_behind")?.max(0.0);
    let heartbeat_age: Option<f64> = row.try_get("heartbeat_age")?;
    let heartbeat_age_seconds = heartbeat_age.map(|age| age.max(0.0));
    let state = match heartbeat_age {
        None => State::NeverRun,
        // A heartbeat in the future was written while the clock of Postgres was ahead.
        Some(age) if age.abs() > STALLED_AFTER.as_secs_f64() => State::Stalled,
        Some(_) if row.try_get("rebuilding")? => State::Rebuilding,
        Some(_) if row.try_get("waiting")? => State::Waiting,
        Some(_) if seconds_behind > LIVE_WITHIN_SECONDS => State::CatchingUp,
        Some(_) => State::Live,
    };
    let runs = !matches!(state, State::NeverRun | State::Stalled);
    let events_per_second: f64 = row.try_get("events_per_second")?;
    Ok(Status {
        name: row.try_get("name")?,
        state,
        position: row.try_get("position")?,
        events_behind,
        seconds_behind,
        // Negative if an operator has set the checkpoint back.
        events_per_second: if runs { events_per_second.max(0.0) } else { 0.0 },
        heartbeat_at,
        heartbeat_age_seconds,
        parked: row.try_get("parked")?,
        clock_ahead_seconds: row.try_get::<f64, _>("clock_ahead")?.max(0.0),
        rebuild_position: row.try_get("rebuild_position")?,
        error: row.try_get("error")?,
        error_since: row.try_get("error_since")?,
        warning: row.try_get("warning")?,
    })
}
