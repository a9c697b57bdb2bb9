//! The last reading of each device, and whether it is there.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::telemetry::presence::{Session, Status};
use domain::telemetry::{Connection, DeviceRef, Reading};
use eventsourcing::{Position, Recorded, Version};
use sqlx::PgConnection;

use super::presence::{ConnectionChange, Known, load};

/// What a batch says about one device.
#[derive(Debug)]
pub(super) struct DeviceChange {
    user_id: String,
    device_id: String,
    /// Its number, if it is new: the position of its first event.
    first: Position,
    version: Version,
    first_seen_at: DateTime<Utc>,
    /// Missing while the batch holds nothing but decisions about it.
    last_seen_at: Option<DateTime<Utc>>,
    readings: i64,
    /// The last by its own time.
    last: Option<(Position, Reading)>,
    /// The last by arrival.
    read: Option<(Position, DateTime<Utc>)>,
    /// What was said of its connection. Most batches have none, and then need not know what the
    /// device's presence was.
    changes: Vec<ConnectionChange>,
}

impl DeviceChange {
    pub(super) fn new(device: DeviceRef<'_>, recorded: &Recorded<()>) -> Self {
        Self {
            user_id: device.user_id.to_string(),
            device_id: device.device_id.to_string(),
            first: recorded.position,
            version: recorded.version,
            first_seen_at: recorded.recorded_at,
            last_seen_at: None,
            readings: 0,
            last: None,
            read: None,
            changes: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, recorded: &Recorded<()>, reading: Reading) {
        self.version = recorded.version;
        self.last_seen_at = Some(recorded.recorded_at);
        self.readings += 1;
        self.read = Some((recorded.position, recorded.recorded_at));
        // Events come in order of position, so among equal times the later one wins.
        if self.last.as_ref().is_none_or(|(_, last)| last.time <= reading.time) {
            self.last = Some((recorded.position, reading));
        }
    }

    pub(super) fn connection(&mut self, recorded: &Recorded<()>, said: Connection, online: bool) {
        self.version = recorded.version;
        if said.rests_on.is_none() {
            self.last_seen_at = Some(recorded.recorded_at);
        }
        self.changes.push(ConnectionChange {
            read: self.read.map(|(position, _)| position),
            position: recorded.position,
            at: recorded.recorded_at,
            online,
            said,
        });
    }

    /// What is to be written of its presence: how it ends, if the batch says anything of it.
    fn presence(&mut self, known: Option<Known>) -> Option<(Status, Known)> {
        let mut known = known.unwrap_or_default();
        self.last_seen_at = self.last_seen_at.or(known.last_seen_at);
        let before = known.presence.status;
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut known.presence);
        }
        let told = known.presence.status.filter(|told| Some(told) != before.as_ref())?;
        Some((told, known))
    }
}

/// Writes what a batch says about its devices. Returns their numbers.
pub(super) async fn write(
    mut devices: Vec<DeviceChange>,
    connection: &mut PgConnection,
) -> Result<Vec<i64>, sqlx::Error> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    fn session(of: Option<&(Status, Known)>) -> Option<&Session> {
        of.and_then(|(_, known)| known.presence.session.as_ref())
    }
    let spoken_of = devices.iter().filter(|device| !device.changes.is_empty());
    let keys = spoken_of.map(|device| (device.user_id.as_str(), device.device_id.as_str()));
    let mut known = load(keys, connection).await?;
    let presences: Vec<_> = devices
        .iter_mut()
        .map(|device| {
            let key = (device.user_id.clone(), device.device_id.clone());
            device.presence(known.remove(&key))
        })
        .collect();
    let told = |of: &Option<(Status, Known)>| of.as_ref().map(|(told, _)| *told);
    fn last(device: &DeviceChange) -> Option<&Reading> {
        device.last.as_ref().map(|(_, reading)| reading)
    }
    let numbers: Vec<(String, String, i64)> = sqlx::query_as(
        "insert into device as d
           (user_id, device_id, number, version, first_seen_at, last_seen_at, readings, time,
            reading_position, sequence_id, boot_id, temperature, battery, extra_data,
            read_position, read_at, online, reason, online_since, told_position, told_at,
            session_seq, session_boot_id, session_ended)
         select user_id, device_id, number, version, first_seen_at, last_seen_at, readings, time,
                reading_position, sequence_id, boot_id, temperature, battery, extra_data::jsonb,
                read_position, read_at, online, reason, online_since, told_position, told_at,
                session_seq, session_boot_id, session_ended
         from unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[],
                     $6::bigint[], $7::timestamptz[], $8::bigint[], $9::bigint[], $10::text[],
                     $11::float8[], $12::integer[], $13::text[], $14::bigint[],
                     $15::timestamptz[], $16::boolean[], $17::text[], $18::timestamptz[],
                     $19::bigint[], $20::timestamptz[], $21::bigint[], $22::text[], $23::boolean[],
                     $24::bigint[])
           as n (user_id, device_id, version, first_seen_at, last_seen_at, readings, time,
                 reading_position, sequence_id, boot_id, temperature, battery, extra_data,
                 read_position, read_at, online, reason, online_since, told_position, told_at,
                 session_seq, session_boot_id, session_ended, number)
         on conflict (user_id, device_id) do update set
           (version, last_seen_at, readings) = row (
             excluded.version, excluded.last_seen_at, d.readings + excluded.readings),
           (time, reading_position, sequence_id, boot_id, temperature, battery, extra_data) = (
             select time, reading_position, sequence_id, boot_id, temperature, battery, extra_data
             from (select (case when d.time is null or excluded.time >= d.time
                                then excluded else d end).*) latest),
           (read_position, read_at) = row (
             coalesce(excluded.read_position, d.read_position),
             coalesce(excluded.read_at, d.read_at)),
           (online, reason, online_since, told_position, told_at, session_seq, session_boot_id,
            session_ended) = (
             select online, reason, online_since, told_position, told_at, session_seq,
                    session_boot_id, session_ended
             from (select (case when excluded.told_position is not null
                                then excluded else d end).*) latest)
         returning user_id, device_id, number",
    )
    .bind(column(&devices, |device| device.user_id.as_str()))
    .bind(column(&devices, |device| device.device_id.as_str()))
    .bind(column(&devices, |device| device.version.0))
    .bind(column(&devices, |device| device.first_seen_at))
    .bind(column(&devices, |device| device.last_seen_at.unwrap_or(device.first_seen_at)))
    .bind(column(&devices, |device| device.readings))
    .bind(column(&devices, |device| last(device).map(|reading| reading.time)))
    .bind(column(&devices, |device| device.last.as_ref().map(|(position, _)| position.0)))
    .bind(column(&devices, |device| last(device).map(|reading| reading.sequence_id)))
    .bind(column(&devices, |device| last(device).map(|reading| reading.boot_id.as_str())))
    .bind(column(&devices, |device| last(device).and_then(|reading| reading.temperature)))
    .bind(column(&devices, |device| last(device).and_then(|reading| reading.battery)))
    .bind(column(&devices, |device| last(device).and_then(super::readings::extra_json)))
    .bind(column(&devices, |device| device.read.map(|(position, _)| position.0)))
    .bind(column(&devices, |device| device.read.map(|(_, at)| at)))
    .bind(column(&presences, |of| told(of).map(|told| told.reason.is_online())))
    .bind(column(&presences, |of| told(of).map(|told| told.reason.as_str())))
    .bind(column(&presences, |of| told(of).map(|told| told.since)))
    .bind(column(&presences, |of| told(of).map(|told| told.position.0)))
    .bind(column(&presences, |of| told(of).map(|told| told.at)))
    .bind(column(&presences, |of| session(of.as_ref()).map(|session| session.seq)))
    .bind(column(&presences, |of| session(of.as_ref()).map(|session| session.boot_id.clone())))
    .bind(column(&presences, |of| session(of.as_ref()).map(|session| session.ended)))
    .bind(column(&devices, |device| device.first.0))
    .fetch_all(connection)
    .await?;
    // In whichever order they come.
    let numbers: HashMap<_, _> =
        numbers.iter().map(|(user, device, number)| ((&**user, &**device), *number)).collect();
    let number = |device: &DeviceChange| {
        numbers
            .get(&(&*device.user_id, &*device.device_id))
            .copied()
            .ok_or(sqlx::Error::RowNotFound)
    };
    devices.iter().map(number).collect()
}
