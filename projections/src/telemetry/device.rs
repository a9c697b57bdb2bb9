//! The last reading of each device, and its presence.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::telemetry::presence::{Session, Status};
use domain::telemetry::{Connection, DeviceRef, Reading};
use eventsourcing::{Position, Recorded, Version};
use sqlx::PgConnection;

use super::presence::{ConnectionChange, StoredDevice, load};
use super::readings::extra_json;
use crate::by_name::Named;
use crate::columns::Columns;

/// The changes of a batch to one device.
#[derive(Debug)]
pub(super) struct DeviceChange {
    user_id: String,
    device_id: String,
    /// Position of its first event in the batch, which becomes the number of a new device.
    first: Position,
    version: Version,
    first_seen_at: DateTime<Utc>,
    /// Receipt of its last message; `None` while the batch holds decisions only.
    last_seen_at: Option<DateTime<Utc>>,
    readings: i64,
    /// The last reading by its own time.
    last: Option<(Position, Reading)>,
    /// The last reading by arrival.
    read: Option<(Position, DateTime<Utc>)>,
    /// Births, wills and decisions. Only a device that has some needs its stored presence.
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

    pub(super) fn connection(&mut self, recorded: &Recorded<()>, event: Connection, online: bool) {
        self.version = recorded.version;
        if event.rests_on.is_none() {
            self.last_seen_at = Some(recorded.recorded_at);
        }
        self.changes.push(ConnectionChange {
            read: self.read.map(|(position, _)| position),
            position: recorded.position,
            at: recorded.recorded_at,
            online,
            event,
        });
    }

    /// The presence to write: its last transition, if the batch has one, and the state after it.
    fn presence(&mut self, known: Option<StoredDevice>) -> Option<(Status, StoredDevice)> {
        let mut known = known.unwrap_or_default();
        self.last_seen_at = self.last_seen_at.or(known.last_seen_at);
        let before = known.presence.status;
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut known.presence);
        }
        let status = known.presence.status.filter(|status| Some(status) != before.as_ref())?;
        Some((status, known))
    }
}

/// A device's changes, and the presence to write for it.
type Row = (DeviceChange, Option<(Status, StoredDevice)>);

/// Writes the changes of a batch to its devices. Returns the numbers of the devices, in order.
pub(super) async fn write(
    devices: Vec<DeviceChange>,
    connection: &mut PgConnection,
) -> Result<Vec<i64>, sqlx::Error> {
    fn last<'r, T>((device, _): &'r Row, value: impl Fn(&'r Reading) -> T) -> Option<T> {
        device.last.as_ref().map(|(_, reading)| value(reading))
    }
    fn status<T>((_, presence): &Row, value: impl Fn(Status) -> T) -> Option<T> {
        presence.as_ref().map(|(status, _)| value(*status))
    }
    fn session((_, presence): &Row) -> Option<&Session> {
        presence.as_ref().and_then(|(_, known)| known.presence.session.as_ref())
    }
    let changed = devices.iter().filter(|device| !device.changes.is_empty());
    let keys = changed.map(|device| (device.user_id.as_str(), device.device_id.as_str()));
    let mut known = load(keys, connection).await?;
    let row = |mut device: DeviceChange| {
        let key = (device.user_id.clone(), device.device_id.clone());
        let presence = device.presence(known.remove(&key));
        (device, presence)
    };
    let rows: Vec<Row> = devices.into_iter().map(row).collect();
    let numbers: Vec<(String, String, i64)> = Columns::of(&rows)
        .column("user_id", |(device, _)| device.user_id.as_str())
        .column("device_id", |(device, _)| device.device_id.as_str())
        .column("number", |(device, _)| device.first.0)
        .column("version", |(device, _)| device.version.0)
        .column("first_seen_at", |(device, _)| device.first_seen_at)
        .column("last_seen_at", |(device, _)| device.last_seen_at.unwrap_or(device.first_seen_at))
        .column("readings", |(device, _)| device.readings)
        .column("time", |row| last(row, |reading| reading.time))
        .column("reading_position", |(device, _)| device.last.as_ref().map(|(at, _)| at.0))
        .column("sequence_id", |row| last(row, |reading| reading.sequence_id))
        .column("boot_id", |row| last(row, |reading| reading.boot_id.as_str()))
        .column("temperature", |row| last(row, |reading| reading.temperature).flatten())
        .column("battery", |row| last(row, |reading| reading.battery).flatten())
        .cast("extra_data", "jsonb", |row| last(row, extra_json).flatten())
        .column("read_position", |(device, _)| device.read.map(|(position, _)| position.0))
        .column("read_at", |(device, _)| device.read.map(|(_, at)| at))
        .column("online", |row| status(row, |status| status.reason.is_online()))
        .column("reason", |row| status(row, |status| status.reason.name()))
        .column("online_since", |row| status(row, |status| status.since))
        .column("told_position", |row| status(row, |status| status.position.0))
        .column("told_at", |row| status(row, |status| status.at))
        .column("session_seq", |row| session(row).map(|session| session.seq))
        .column("session_boot_id", |row| session(row).map(|session| session.boot_id.as_str()))
        .column("session_ended", |row| session(row).map(|session| session.ended))
        .insert_returning(
            "device as d",
            "on conflict (user_id, device_id) do update set
               (version, last_seen_at, readings) = row (
                 excluded.version, excluded.last_seen_at, d.readings + excluded.readings),
               (time, reading_position, sequence_id, boot_id, temperature, battery, extra_data) = (
                 select time, reading_position, sequence_id, boot_id, temperature, battery,
                        extra_data
                 from (select (case when d.time is null or excluded.time >= d.time
                                    then excluded else d end).*) latest),
               (read_position, read_at) = row (
                 coalesce(excluded.read_position, d.read_position),
                 coalesce(excluded.read_at, d.read_at)),
               (online, reason, online_since, told_position, told_at, session_seq,
                session_boot_id, session_ended) = (
                 select online, reason, online_since, told_position, told_at, session_seq,
                        session_boot_id, session_ended
                 from (select (case when excluded.told_position is not null
                                    then excluded else d end).*) latest)
             returning user_id, device_id, number",
            connection,
        )
        .await?;
    // Postgres returns the rows in any order.
    let numbers: HashMap<_, _> =
        numbers.iter().map(|(user, device, number)| ((&**user, &**device), *number)).collect();
    let number = |(device, _): &Row| {
        let key = (&*device.user_id, &*device.device_id);
        numbers.get(&key).copied().ok_or(sqlx::Error::RowNotFound)
    };
    rows.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use domain::telemetry::presence::StatusReason;
    use domain::telemetry::{AnyEvent, DeviceId, Event, UserId, device_stream};

    use super::super::Telemetry;
    use super::*;
    use crate::testing::{at, fold, golden};

    fn stream() -> eventsourcing::StreamId {
        let user_id = UserId::parse("ada").unwrap();
        let device_id = DeviceId::parse("attic").unwrap();
        device_stream(DeviceRef { user_id: &user_id, device_id: &device_id })
    }

    fn reading(second: i64, sequence_id: i64) -> AnyEvent {
        let Event::ReadingRecorded(reading) = golden("telemetry", "reading_recorded") else {
            panic!("a reading")
        };
        let (user_id, device_id) = (reading.user_id.clone(), reading.device_id.clone());
        let time = at(second);
        let reading = Reading { user_id, device_id, time, sequence_id, ..reading };
        AnyEvent::Device(Event::ReadingRecorded(reading))
    }

    fn connected(event_type: &str) -> AnyEvent {
        AnyEvent::Device(golden("telemetry", event_type))
    }

    #[test]
    fn the_last_reading_is_the_latest_by_its_own_time() {
        let events = [reading(50, 1), reading(60, 2), reading(55, 3)];
        let changes = fold::<Telemetry>(events.map(|event| (stream(), event)));
        assert_eq!(changes.devices.len(), 1);
        let device = &changes.devices[0];
        assert_eq!((device.first, device.version, device.readings), (Position(1), Version(3), 3));
        assert_eq!(device.read, Some((Position(3), at(3))));
        let (position, last) = device.last.as_ref().unwrap();
        assert_eq!((*position, last.sequence_id), (Position(2), 2));
        assert!(device.changes.is_empty());
    }

    #[test]
    fn births_and_wills_of_a_batch_end_in_one_presence() {
        let events = [connected("device_connected"), reading(50, 1)];
        let changes = fold::<Telemetry>(events.map(|event| (stream(), event)));
        let mut device = changes.devices.into_iter().next().unwrap();
        let (status, known) = device.presence(None).unwrap();
        assert_eq!(
            (status.reason, status.position, status.at),
            (StatusReason::Birth, Position(1), at(1))
        );
        assert!(known.presence.session.is_some());
        assert!(device.presence(Some(known)).is_none(), "nothing is left to write");
    }
}
