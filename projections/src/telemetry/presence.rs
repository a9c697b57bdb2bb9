//! Presence: its stored state, the decisions that are due, and how long the devices of each user may
//! be silent.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::telemetry::presence::{self, Decision, Presence, Session, Status, WILL_GRACE};
use domain::telemetry::{Connection, DeviceId, DeviceRef, UserId};
use eventsourcing::{Position, Recorded, Version};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::names::ReasonName;
use super::query::DeviceCursor;
use super::rollup::KnownFields;
use crate::by_name::ByName;
use crate::columns::Columns;

/// A device that sent a reading while offline stays due until this long after it may be called
/// inactive: a worker that runs late still decides, but not on readings of long ago.
const RECENT_READING: Duration = Duration::from_mins(1);

/// A birth, a will or a decision about a device.
#[derive(Debug)]
pub(super) struct ConnectionChange {
    /// Position of the last reading of the device in the batch before this event.
    pub(super) read: Option<Position>,
    pub(super) position: Position,
    pub(super) at: DateTime<Utc>,
    pub(super) online: bool,
    pub(super) event: Connection,
}

impl ConnectionChange {
    pub(super) fn apply(&self, presence: &mut Presence) {
        if let Some(read) = self.read {
            presence.record_reading(read);
        }
        if self.online {
            presence.connected(&self.event, self.position, self.at);
        } else {
            presence.disconnected(&self.event, self.position, self.at);
        }
    }
}

/// The stored state of a device before a batch.
#[derive(Debug, Default)]
pub(super) struct StoredDevice {
    pub(super) number: i64,
    /// Time of its latest reading by its own clock.
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) fields: KnownFields,
    pub(super) last_seen_at: Option<DateTime<Utc>>,
    /// Loaded only for a device that the batch has births, wills or decisions about.
    pub(super) presence: Presence,
}

/// Reads the stored presence of a device.
pub(super) fn presence_of(row: &PgRow) -> Result<Presence, sqlx::Error> {
    let reason: Option<ReasonName> = row.try_get("reason")?;
    let status = match reason {
        None => None,
        Some(ByName(reason)) => Some(Status {
            reason,
            position: Position(row.try_get("told_position")?),
            at: row.try_get("told_at")?,
            since: row.try_get("online_since")?,
        }),
    };
    let session = match row.try_get("session_seq")? {
        None => None,
        Some(seq) => Some(Session {
            boot_id: row.try_get("session_boot_id")?,
            seq,
            ended: row.try_get("session_ended")?,
            superseded: row.try_get("session_superseded")?,
        }),
    };
    let read: Option<i64> = row.try_get("read_position")?;
    Ok(Presence { session, status, last_reading: read.map(Position) })
}

/// A decision that is due according to the read model. The log refuses it if the device's stream has
/// moved on.
#[derive(Debug)]
pub struct DueDecision {
    /// Owner of the device.
    pub user_id: UserId,
    /// The device.
    pub device_id: DeviceId,
    /// Version of the device's stream in the read model.
    pub version: Version,
    /// The event to append, and its derived id.
    pub decision: Decision,
}

/// Returns at most `limit` decisions at the time `now` of the log's clock, by user and device, of devices after `cursor`: devices that are
/// online and have been silent for too long, and devices that are offline and sent a reading. `default`
/// is how long devices may be silent whose user has configured nothing.
pub async fn due_decisions(
    pool: &PgPool,
    now: DateTime<Utc>,
    default: Duration,
    cursor: &DeviceCursor,
    limit: i64,
) -> Result<Vec<DueDecision>, sqlx::Error> {
    let rows = sqlx::query(
        "select d.*
         from telemetry.device d
         left join telemetry.presence_setting s on s.user_id = d.user_id
         cross join lateral (
           select $7::timestamptz
             - make_interval(secs => coalesce(s.inactive_after_ms / 1000.0, $3)::float8) as silent
         ) since
         where (d.user_id, d.device_id) > ($1, $2)
           and case when d.online then d.last_seen_at < since.silent
               else d.read_position > coalesce(d.told_position, 0)
                 and d.read_at >= since.silent - make_interval(secs => $4)
                 and (d.reason is distinct from 'will'
                      or d.read_at >= d.told_at + make_interval(secs => $5)) end
         order by d.user_id, d.device_id limit $6",
    )
    .bind(&cursor.user_id)
    .bind(&cursor.device_id)
    .bind(default.as_secs_f64())
    .bind(RECENT_READING.as_secs_f64())
    .bind(WILL_GRACE.as_secs_f64())
    .bind(limit)
    .bind(now)
    .fetch_all(pool)
    .await?;
    rows.iter().filter_map(|row| due_decision(row).transpose()).collect()
}

fn due_decision(row: &PgRow) -> Result<Option<DueDecision>, sqlx::Error> {
    let decode = |error| sqlx::Error::Decode(Box::new(error));
    let user_id = UserId::stored(row.try_get("user_id")?).map_err(decode)?;
    let device_id = DeviceId::stored(row.try_get("device_id")?).map_err(decode)?;
    let device = DeviceRef { user_id: &user_id, device_id: &device_id };
    let Some(decision) = Decision::on(device, &presence_of(row)?) else {
        return Ok(None);
    };
    let version = Version(row.try_get("version")?);
    Ok(Some(DueDecision { user_id, device_id, version, decision }))
}

/// The last setting of a user.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    version: Version,
    inactive_after_ms: Option<i64>,
    at: DateTime<Utc>,
}

/// The settings of a batch, by user.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, Chosen>);

impl Settings {
    pub(super) fn add<E>(&mut self, recorded: &Recorded<E>, event: &presence::Event) {
        match event {
            presence::Event::PresenceConfigured { user_id, inactive_after_ms } => {
                let chosen = Chosen {
                    version: recorded.version,
                    inactive_after_ms: *inactive_after_ms,
                    at: recorded.recorded_at,
                };
                self.0.insert(user_id.to_string(), chosen);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let settings: Vec<_> = self.0.into_iter().collect();
        Columns::of(&settings)
            .column("user_id", |(user_id, _)| user_id.as_str())
            .column("version", |(_, chosen)| chosen.version.0)
            .column("inactive_after_ms", |(_, chosen)| chosen.inactive_after_ms)
            .column("updated_at", |(_, chosen)| chosen.at)
            .insert(
                "presence_setting",
                "on conflict (user_id) do update set
                   (version, inactive_after_ms, updated_at) = row (
                     excluded.version, excluded.inactive_after_ms, excluded.updated_at)",
                connection,
            )
            .await
    }
}

/// Returns how long the devices of a user may be silent, `None` for the default, and the version of
/// the setting's stream; `None` if the user has configured nothing.
pub async fn presence_setting(
    pool: &PgPool,
    user_id: &str,
) -> Result<Option<(Option<Duration>, Version)>, sqlx::Error> {
    let row: Option<(Option<i64>, i64)> = sqlx::query_as(
        "select inactive_after_ms, version from telemetry.presence_setting where user_id = $1",
    )
    .bind(user_id)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(ms, version)| {
        (ms.map(|ms| Duration::from_millis(ms.unsigned_abs())), Version(version))
    }))
}
