//! Presence: what is known of it between batches, who should be decided on, and how long each
//! user's devices may be silent.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::telemetry::presence::{
    self, Decision, Presence, Session, Status, StatusReason, WILL_GRACE,
};
use domain::telemetry::{Connection, DeviceId, DeviceRef, UserId};
use eventsourcing::{Position, Recorded, Version};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::DeviceCursor;

/// A device that was heard is decided on until it has been silent for so much longer than it may:
/// who looks late still says what happened, but not what happened long ago.
const RECENT_READING: Duration = Duration::from_mins(1);

/// Something said of a device's connection.
#[derive(Debug)]
pub(super) struct ConnectionChange {
    /// The batch's last reading of the device before it.
    pub(super) read: Option<Position>,
    pub(super) position: Position,
    pub(super) at: DateTime<Utc>,
    pub(super) online: bool,
    pub(super) said: Connection,
}

impl ConnectionChange {
    pub(super) fn apply(&self, presence: &mut Presence) {
        if let Some(read) = self.read {
            presence.record_reading(read);
        }
        if self.online {
            presence.connected(&self.said, self.position, self.at);
        } else {
            presence.disconnected(&self.said, self.position, self.at);
        }
    }
}

/// What the rows say of a device before a batch.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) last_seen_at: Option<DateTime<Utc>>,
    pub(super) presence: Presence,
}

/// What is known of these devices.
pub(super) async fn load(
    keys: impl Iterator<Item = (&str, &str)>,
    connection: &mut PgConnection,
) -> Result<HashMap<(String, String), Known>, sqlx::Error> {
    let (users, devices): (Vec<_>, Vec<_>) = keys.unzip();
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "select d.* from unnest($1::text[], $2::text[]) as n (user_id, device_id)
         join device d using (user_id, device_id)",
    )
    .bind(users)
    .bind(devices)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let key = (row.try_get("user_id")?, row.try_get("device_id")?);
            let last_seen_at = row.try_get("last_seen_at")?;
            Ok((key, Known { last_seen_at, presence: presence_of(row)? }))
        })
        .collect()
}

fn presence_of(row: &PgRow) -> Result<Presence, sqlx::Error> {
    let reason: Option<String> = row.try_get("reason")?;
    let reason = reason
        .and_then(|name| StatusReason::ALL.into_iter().find(|reason| reason.as_str() == name));
    let status = match reason {
        None => None,
        Some(reason) => Some(Status {
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
        }),
    };
    let read: Option<i64> = row.try_get("read_position")?;
    Ok(Presence { session, status, last_reading: read.map(Position) })
}

/// A decision that is due, as far as the read model knows.
#[derive(Debug)]
pub struct DueDecision {
    pub user_id: UserId,
    pub device_id: DeviceId,
    /// Of the device's stream, as the read model knows it.
    pub version: Version,
    pub decision: Decision,
}

/// Devices after `cursor` that are online and were silent for too long, and devices that are not
/// online and were heard; by user and name, at most `limit`.
pub async fn due_decisions(
    pool: &PgPool,
    default: Duration,
    cursor: &DeviceCursor,
    limit: i64,
) -> Result<Vec<DueDecision>, sqlx::Error> {
    let rows = sqlx::query(
        "select d.*
         from telemetry.device d
         left join telemetry.presence_setting s on s.user_id = d.user_id
         cross join lateral (
           select clock_timestamp()
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
    .fetch_all(pool)
    .await?;
    rows.iter().filter_map(|row| due_decision(row).transpose()).collect()
}

fn due_decision(row: &PgRow) -> Result<Option<DueDecision>, sqlx::Error> {
    let decode = |error| sqlx::Error::Decode(Box::new(error));
    let user_id = UserId::parse(row.try_get("user_id")?).map_err(decode)?;
    let device_id = DeviceId::parse(row.try_get("device_id")?).map_err(decode)?;
    let device = DeviceRef { user_id: &user_id, device_id: &device_id };
    let Some(decision) = Decision::on(device, &presence_of(row)?) else {
        return Ok(None);
    };
    let version = Version(row.try_get("version")?);
    Ok(Some(DueDecision { user_id, device_id, version, decision }))
}

/// What a user chose last.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    version: Version,
    inactive_after_ms: Option<i64>,
    at: DateTime<Utc>,
}

/// What a batch says about the settings of users.
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

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (users, chosen): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        sqlx::query(
            "insert into presence_setting (user_id, version, inactive_after_ms, updated_at)
             select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[])
             on conflict (user_id) do update set
               (version, inactive_after_ms, updated_at) = row (
                 excluded.version, excluded.inactive_after_ms, excluded.updated_at)",
        )
        .bind(users)
        .bind(chosen.iter().map(|chosen| chosen.version.0).collect::<Vec<_>>())
        .bind(chosen.iter().map(|chosen| chosen.inactive_after_ms).collect::<Vec<_>>())
        .bind(chosen.iter().map(|chosen| chosen.at).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A user's setting: how long the devices may be silent, and the version of its stream. Missing if
/// nothing was ever chosen.
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
