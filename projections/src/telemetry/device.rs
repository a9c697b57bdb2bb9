//! The last reading of each device, and its presence.

use chrono::{DateTime, Utc};
use domain::telemetry::presence::{Presence, Session, Status};
use domain::telemetry::{Connection, DeviceRef, Reading};
use eventsourcing::{Position, Recorded, Version};
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};

use super::presence::{ConnectionChange, StoredDevice, presence_of};
use super::readings::extra_json;
use super::rollup::{Admitted, KnownFields, RollupDevice};
use crate::by_name::Named;
use crate::columns::Columns;

/// The changes of a batch to one device.
#[derive(Debug)]
pub(super) struct DeviceChange {
    pub(super) user_id: String,
    pub(super) device_id: String,
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

    /// Whether the batch has births, wills or decisions about it.
    pub(super) fn has_connections(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The device for the rollups of the batch.
    pub(super) fn of_rollups(&self, stored: Option<&StoredDevice>) -> RollupDevice {
        let number = stored.map_or(self.first.0, |stored| stored.number);
        let batch = self.last.as_ref().map(|(_, reading)| reading.time);
        RollupDevice::new(number, stored.and_then(|stored| stored.time), batch)
    }

    /// The presence to write: its last transition, if the batch has one, and the state after it.
    fn presence(&mut self, mut known: StoredDevice) -> Option<(Status, StoredDevice)> {
        self.last_seen_at = self.last_seen_at.or(known.last_seen_at);
        let before = known.presence.status;
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut known.presence);
        }
        let status = known.presence.status.filter(|status| Some(status) != before.as_ref())?;
        Some((status, known))
    }
}

/// A device's changes, its fields that have rollups, and the presence to write for it.
struct Row {
    device: DeviceChange,
    number: i64,
    /// The fields as JSON texts; `None` if they are unchanged.
    fields: Option<String>,
    other_fields: Option<String>,
    refused_values: i64,
    presence: Option<(Status, StoredDevice)>,
}

impl Row {
    fn new(
        mut device: DeviceChange,
        stored: Option<StoredDevice>,
        Admitted { fields, other_fields, refused_values }: Admitted,
    ) -> Self {
        let number = stored.as_ref().map_or(device.first.0, |stored| stored.number);
        let mut stored = stored.unwrap_or_default();
        let is_latest = |(_, reading): &(Position, Reading)| {
            stored.time.is_none_or(|stored| stored <= reading.time)
        };
        device.last = device.last.take().filter(is_latest);
        let fields = extended(&mut stored.fields.numbers, fields);
        let other_fields = extended(&mut stored.fields.others, other_fields);
        let presence = device.presence(stored);
        Self { device, number, fields, other_fields, refused_values, presence }
    }

    fn last<'r, T>(&'r self, value: impl Fn(&'r Reading) -> T) -> Option<T> {
        self.device.last.as_ref().map(|(_, reading)| value(reading))
    }

    fn status<T>(&self, value: impl Fn(Status) -> T) -> Option<T> {
        self.presence.as_ref().map(|(status, _)| value(*status))
    }

    fn session<'r, T>(&'r self, value: impl Fn(&'r Session) -> T) -> Option<T> {
        self.presence.as_ref().and_then(|(_, known)| known.presence.session.as_ref()).map(value)
    }
}

/// Adds new fields to the known ones. Returns all as JSON text; `None` if none are new.
fn extended(known: &mut Vec<String>, new: Vec<String>) -> Option<String> {
    let changed = !new.is_empty();
    known.extend(new);
    changed.then(|| serde_json::to_string(known).expect("a list of texts is always JSON"))
}

/// Writes the changes of a batch to its devices. `stored` are the devices before the batch, and
/// `admitted` their new fields, both in the order of `devices`.
pub(super) async fn write(
    devices: Vec<DeviceChange>,
    stored: Vec<Option<StoredDevice>>,
    admitted: Vec<Admitted>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let rows = devices.into_iter().zip(stored).zip(admitted);
    let rows: Vec<_> =
        rows.map(|((device, stored), admitted)| Row::new(device, stored, admitted)).collect();
    Columns::of(&rows)
        .column("user_id", |row| row.device.user_id.as_str())
        .column("device_id", |row| row.device.device_id.as_str())
        .column("number", |row| row.number)
        .column("version", |row| row.device.version.0)
        .column("first_seen_at", |row| row.device.first_seen_at)
        .column("last_seen_at", |row| row.device.last_seen_at.unwrap_or(row.device.first_seen_at))
        .column("readings", |row| row.device.readings)
        .column("time", |row| row.last(|reading| reading.time))
        .column("unset_time", |row| row.last(|reading| reading.unset_time).flatten())
        .column("reading_position", |row| row.device.last.as_ref().map(|(at, _)| at.0))
        .column("sequence_id", |row| row.last(|reading| reading.sequence_id))
        .column("boot_id", |row| row.last(|reading| reading.boot_id.as_str()))
        .column("temperature", |row| row.last(|reading| reading.temperature).flatten())
        .column("battery", |row| row.last(|reading| reading.battery).flatten())
        .cast("extra_data", "json", |row| row.last(extra_json).flatten())
        .column("read_position", |row| row.device.read.map(|(position, _)| position.0))
        .column("read_at", |row| row.device.read.map(|(_, at)| at))
        .column("online", |row| row.status(|status| status.reason.is_online()))
        .column("reason", |row| row.status(|status| status.reason.name()))
        .column("online_since", |row| row.status(|status| status.since))
        .column("told_position", |row| row.status(|status| status.position.0))
        .column("told_at", |row| row.status(|status| status.at))
        .column("session_seq", |row| row.session(|session| session.seq))
        .column("session_boot_id", |row| row.session(|session| session.boot_id.as_str()))
        .column("session_ended", |row| row.session(|session| session.ended))
        .column("session_superseded", |row| row.session(|session| session.superseded).flatten())
        .cast("fields", "jsonb", |row| row.fields.as_deref().unwrap_or("[]"))
        .cast("other_fields", "jsonb", |row| row.other_fields.as_deref().unwrap_or("[]"))
        .column("values_not_aggregated", |row| row.refused_values)
        .insert("device as d", ON_CONFLICT, connection)
        .await
}

/// A reading that is not the latest of its device, and a status that has not changed, are null;
/// fields that have not changed are empty.
const ON_CONFLICT: &str = "on conflict (user_id, device_id) do update set
  version = excluded.version, last_seen_at = excluded.last_seen_at,
  readings = d.readings + excluded.readings,
  time = coalesce(excluded.time, d.time),
  unset_time = case when excluded.time is null then d.unset_time else excluded.unset_time end,
  reading_position = coalesce(excluded.reading_position, d.reading_position),
  sequence_id = coalesce(excluded.sequence_id, d.sequence_id),
  boot_id = coalesce(excluded.boot_id, d.boot_id),
  temperature = case when excluded.time is null then d.temperature else excluded.temperature end,
  battery = case when excluded.time is null then d.battery else excluded.battery end,
  extra_data = case when excluded.time is null then d.extra_data else excluded.extra_data end,
  read_position = coalesce(excluded.read_position, d.read_position),
  read_at = coalesce(excluded.read_at, d.read_at),
  online = coalesce(excluded.online, d.online),
  reason = coalesce(excluded.reason, d.reason),
  online_since = coalesce(excluded.online_since, d.online_since),
  told_position = coalesce(excluded.told_position, d.told_position),
  told_at = coalesce(excluded.told_at, d.told_at),
  session_seq = case when excluded.told_at is null then d.session_seq else excluded.session_seq end,
  session_boot_id = case when excluded.told_at is null
                    then d.session_boot_id else excluded.session_boot_id end,
  session_ended = case when excluded.told_at is null
                  then d.session_ended else excluded.session_ended end,
  session_superseded = case when excluded.told_at is null
                       then d.session_superseded else excluded.session_superseded end,
  fields = case when excluded.fields = '[]' then d.fields else excluded.fields end,
  other_fields = case when excluded.other_fields = '[]'
                 then d.other_fields else excluded.other_fields end,
  values_not_aggregated = d.values_not_aggregated + excluded.values_not_aggregated";

/// Loads the stored state of `devices`, in their order; `None` for new ones.
pub(super) async fn load(
    devices: &[DeviceChange],
    connection: &mut PgConnection,
) -> Result<Vec<Option<StoredDevice>>, sqlx::Error> {
    let mut stored: Vec<_> = devices.iter().map(|_| None).collect();
    let rows = sqlx::query(
        "select n.place, d.number, d.time, d.fields, d.last_seen_at, d.reason, d.told_position,
                d.told_at, d.online_since, d.session_seq, d.session_boot_id, d.session_ended,
                d.session_superseded, d.read_position, d.other_fields
         from unnest($1::text[], $2::text[]) with ordinality as n (user_id, device_id, place)
         cross join lateral (
           select * from device
           where user_id = n.user_id and device_id = n.device_id offset 0 -- one index scan each
         ) d",
    )
    .bind(devices.iter().map(|device| device.user_id.as_str()).collect::<Vec<_>>())
    .bind(devices.iter().map(|device| device.device_id.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let place = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX);
        let Some(device) = devices.get(place) else { continue };
        let (Json(numbers), Json(others)) = (row.try_get(3)?, row.try_get("other_fields")?);
        stored[place] = Some(StoredDevice {
            number: row.try_get(1)?,
            time: row.try_get(2)?,
            fields: KnownFields { numbers, others },
            last_seen_at: row.try_get(4)?,
            presence: if device.has_connections() {
                presence_of(row)?
            } else {
                Presence::default()
            },
        });
    }
    Ok(stored)
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
        let (status, known) = device.presence(StoredDevice::default()).unwrap();
        assert_eq!(
            (status.reason, status.position, status.at),
            (StatusReason::Birth, Position(1), at(1))
        );
        assert!(known.presence.session.is_some());
        assert!(device.presence(known).is_none(), "nothing is left to write");
    }
}
