//! Telemetry as it is asked for: readings, the last of each device, and rollups by minute, hour
//! and day.

mod device;
mod query;
mod rollup;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate};
use domain::telemetry::{DEVICE, Event, Reading};
use domain::{Recorded, StreamId};
use eventstore::CopyRows;
use sqlx::PgConnection;

use crate::projection::Projection;
use device::DeviceChange;
use rollup::Rollups;

pub use query::{
    Bucket, Device, DeviceCursor, Range, ReadingRow, buckets, device, devices, readings,
};
pub use rollup::WIDTHS;

/// The read model of telemetry.
#[derive(Debug)]
pub struct Telemetry;

/// What a batch of device events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    readings: CopyRows,
    /// Mondays of the weeks the readings fall into.
    weeks: BTreeSet<NaiveDate>,
    devices: Vec<DeviceChange>,
    device_of_stream: HashMap<StreamId, usize>,
    rollups: Rollups,
}

impl Projection for Telemetry {
    const NAME: &'static str = "telemetry";
    const CATEGORIES: &'static [&'static str] = &[DEVICE];
    const PREPARE: Option<&'static str> = Some(include_str!("prepare.sql"));
    const DDL: &'static str = include_str!("schema.sql");
    /// Rollups cost a row for each device, field and width, however few readings there are.
    const PACE: Duration = Duration::from_millis(50);
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: &Recorded<Event>) {
        match &event.event {
            Event::ReadingRecorded(reading) => {
                changes.weeks.insert(monday(reading.time.date_naive()));
                push_reading(&mut changes.readings, event, reading);
                let index = changes.device(event, reading.device());
                changes.devices[index].read(event, reading);
                changes.rollups.add(index, event.position, reading);
            }
            Event::DeviceConnected { user_id, device_id, session_seq } => {
                let device = domain::telemetry::DeviceRef { user_id, device_id };
                let index = changes.device(event, device);
                changes.devices[index].presence(event, *session_seq, true);
            }
            Event::DeviceDisconnected { user_id, device_id, session_seq } => {
                let device = domain::telemetry::DeviceRef { user_id, device_id };
                let index = changes.device(event, device);
                changes.devices[index].presence(event, *session_seq, false);
            }
            Event::MessageRejected(_) => {} // In a stream of another category; shown by the feed.
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.weeks.is_empty() {
            sqlx::query("select ensure_partitions($1)")
                .bind(changes.weeks.into_iter().collect::<Vec<_>>())
                .execute(&mut *connection)
                .await?;
        }
        changes.readings.send(connection, COPY_READINGS).await?;
        changes.rollups.write(&changes.devices, connection).await?;
        device::write(&changes.devices, connection).await
    }
}

impl Changes {
    /// Index of the event's device among those of the batch.
    fn device(
        &mut self,
        event: &Recorded<Event>,
        device: domain::telemetry::DeviceRef<'_>,
    ) -> usize {
        if let Some(&index) = self.device_of_stream.get(&event.stream) {
            return index;
        }
        self.devices.push(DeviceChange::new(device, event.recorded_at));
        self.device_of_stream.insert(event.stream.clone(), self.devices.len() - 1);
        self.devices.len() - 1
    }
}

fn monday(date: NaiveDate) -> NaiveDate {
    date - Days::new(date.weekday().num_days_from_monday().into())
}

const COPY_READINGS: &str = "copy reading (time, received_at, sequence_id, position, temperature,
                                           battery, user_id, device_id, boot_id, extra_data)
                             from stdin (format binary)";

/// Adds a row in the order of [`COPY_READINGS`].
fn push_reading(rows: &mut CopyRows, event: &Recorded<Event>, reading: &Reading) {
    rows.row(10);
    rows.time(reading.time);
    rows.time(event.recorded_at);
    rows.int8(reading.sequence_id);
    rows.int8(event.position.0);
    match reading.temperature {
        Some(temperature) => rows.float8(temperature),
        None => rows.null(),
    }
    match reading.battery {
        Some(battery) => rows.int4(battery),
        None => rows.null(),
    }
    rows.text(reading.user_id.as_str());
    rows.text(reading.device_id.as_str());
    rows.text(&reading.boot_id);
    match extra_json(reading) {
        Some(json) => rows.jsonb(&json),
        None => rows.null(),
    }
}

/// The further fields as JSON text, if there are any.
fn extra_json(reading: &Reading) -> Option<String> {
    let extra = &reading.extra_data;
    (!extra.is_empty())
        .then(|| serde_json::to_string(extra).expect("a map with text keys is always JSON"))
}
