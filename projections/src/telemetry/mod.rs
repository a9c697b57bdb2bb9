//! Telemetry as it is asked for: readings, the last of each device, and rollups by minute, hour
//! and day.

mod device;
mod presence;
mod query;
mod rollup;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate};
use domain::telemetry::{AnyEvent, DEVICE, DeviceRef, Event, Reading};
use domain::{Recorded, StreamId};
use eventstore::CopyRows;
use sqlx::PgConnection;

use crate::projection::Projection;
use device::DeviceChange;
use presence::Settings;
use rollup::Rollups;

pub use presence::{Due, due, setting};
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
    settings: Settings,
}

impl Projection for Telemetry {
    const NAME: &'static str = "telemetry";
    const CATEGORIES: &'static [&'static str] = &[DEVICE, domain::telemetry::presence::CATEGORY];
    /// 2: presence as it is decided.
    const VERSION: i32 = 2;
    const PREPARE: Option<&'static str> = Some(include_str!("prepare.sql"));
    const DDL: &'static str = include_str!("schema.sql");
    /// Rollups cost a row for each device, field and width, however few readings there are.
    const PACE: Duration = Duration::from_millis(50);
    type Event = AnyEvent;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: &Recorded<AnyEvent>) {
        match &event.event {
            AnyEvent::Device(told) => changes.device_event(event, told),
            AnyEvent::Presence(chosen) => changes.settings.add(event, chosen),
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
        changes.settings.write(connection).await?;
        device::write(changes.devices, connection).await
    }
}

impl Changes {
    fn device_event(&mut self, event: &Recorded<AnyEvent>, told: &Event) {
        match told {
            Event::ReadingRecorded(reading) => {
                self.weeks.insert(monday(reading.time.date_naive()));
                push_reading(&mut self.readings, event, reading);
                let index = self.device(event, reading.device());
                self.devices[index].read(event, reading);
                self.rollups.add(index, event.position, reading);
            }
            Event::DeviceConnected(said) => {
                let index = self.device(event, said.device());
                self.devices[index].said(event, said, true);
            }
            Event::DeviceDisconnected(said) => {
                let index = self.device(event, said.device());
                self.devices[index].said(event, said, false);
            }
            Event::MessageRejected(_) => {} // In a stream of another category; shown by the feed.
        }
    }

    /// Index of the event's device among those of the batch.
    fn device(&mut self, event: &Recorded<AnyEvent>, device: DeviceRef<'_>) -> usize {
        if let Some(&index) = self.device_of_stream.get(&event.stream) {
            return index;
        }
        self.devices.push(DeviceChange::new(device, event));
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
fn push_reading(rows: &mut CopyRows, event: &Recorded<AnyEvent>, reading: &Reading) {
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
