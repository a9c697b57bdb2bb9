//! The last reading of each device, and whether it is there.

use chrono::{DateTime, Utc};
use domain::telemetry::{DeviceRef, Event, Reading};
use domain::{Position, Recorded};
use sqlx::PgConnection;

/// What a batch says about one device.
#[derive(Debug)]
pub(super) struct DeviceChange {
    pub(super) user_id: String,
    pub(super) device_id: String,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    readings: i64,
    last: Option<(Position, Reading)>,
    presence: Option<Presence>,
}

#[derive(Debug, Clone, Copy)]
struct Presence {
    session_seq: i64,
    online: bool,
    since: DateTime<Utc>,
}

impl DeviceChange {
    pub(super) fn new(device: DeviceRef<'_>, seen_at: DateTime<Utc>) -> Self {
        Self {
            user_id: device.user_id.to_string(),
            device_id: device.device_id.to_string(),
            first_seen_at: seen_at,
            last_seen_at: seen_at,
            readings: 0,
            last: None,
            presence: None,
        }
    }

    pub(super) fn read(&mut self, event: &Recorded<Event>, reading: &Reading) {
        self.last_seen_at = event.recorded_at;
        self.readings += 1;
        // Events come in order of position, so among equal times the later one wins.
        if self.last.as_ref().is_none_or(|(_, last)| last.time <= reading.time) {
            self.last = Some((event.position, reading.clone()));
        }
    }

    /// A will that arrives after the next birth speaks of a session that is over.
    pub(super) fn presence(&mut self, event: &Recorded<Event>, session_seq: i64, online: bool) {
        self.last_seen_at = event.recorded_at;
        if self.presence.is_none_or(|known| known.session_seq <= session_seq) {
            self.presence = Some(Presence { session_seq, online, since: event.recorded_at });
        }
    }
}

/// Writes what a batch says about its devices.
pub(super) async fn write(
    devices: &[DeviceChange],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn column<'a, T>(devices: &'a [DeviceChange], of: impl Fn(&'a DeviceChange) -> T) -> Vec<T> {
        devices.iter().map(of).collect()
    }
    let last = |device: &DeviceChange| device.last.as_ref().map(|(_, reading)| reading.clone());
    sqlx::query(
        "insert into device as d
           (user_id, device_id, first_seen_at, last_seen_at, readings, time, position, sequence_id,
            boot_id, temperature, battery, extra_data, online, session_seq, online_since)
         select user_id, device_id, first_seen_at, last_seen_at, readings, time, position,
                sequence_id, boot_id, temperature, battery, extra_data::jsonb, online, session_seq,
                online_since
         from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[],
                     $6::timestamptz[], $7::bigint[], $8::bigint[], $9::text[], $10::float8[],
                     $11::integer[], $12::text[], $13::boolean[], $14::bigint[],
                     $15::timestamptz[])
           as n (user_id, device_id, first_seen_at, last_seen_at, readings, time, position,
                 sequence_id, boot_id, temperature, battery, extra_data, online, session_seq,
                 online_since)
         on conflict (user_id, device_id) do update set
           (last_seen_at, readings) = row (excluded.last_seen_at, d.readings + excluded.readings),
           (time, position, sequence_id, boot_id, temperature, battery, extra_data) = (
             select time, position, sequence_id, boot_id, temperature, battery, extra_data
             from (select (case when d.time is null or excluded.time >= d.time
                                then excluded else d end).*) latest),
           (online, session_seq, online_since) = (
             select online, session_seq, online_since
             from (select (case when d.session_seq is null or excluded.session_seq >= d.session_seq
                                then excluded else d end).*) latest)",
    )
    .bind(column(devices, |device| device.user_id.as_str()))
    .bind(column(devices, |device| device.device_id.as_str()))
    .bind(column(devices, |device| device.first_seen_at))
    .bind(column(devices, |device| device.last_seen_at))
    .bind(column(devices, |device| device.readings))
    .bind(column(devices, |device| last(device).map(|reading| reading.time)))
    .bind(column(devices, |device| device.last.as_ref().map(|(position, _)| position.0)))
    .bind(column(devices, |device| last(device).map(|reading| reading.sequence_id)))
    .bind(column(devices, |device| last(device).map(|reading| reading.boot_id)))
    .bind(column(devices, |device| last(device).and_then(|reading| reading.temperature)))
    .bind(column(devices, |device| last(device).and_then(|reading| reading.battery)))
    .bind(column(devices, |device| last(device).as_ref().and_then(super::extra_json)))
    .bind(column(devices, |device| device.presence.map(|presence| presence.online)))
    .bind(column(devices, |device| device.presence.map(|presence| presence.session_seq)))
    .bind(column(devices, |device| device.presence.map(|presence| presence.since)))
    .execute(connection)
    .await?;
    Ok(())
}
