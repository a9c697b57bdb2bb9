//! Telemetry as it is asked for: readings, the last of each device, and rollups by minute, hour
//! and day.

mod device;
mod presence;
mod query;
mod readings;
mod rollup;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use domain::telemetry::{AnyEvent, DEVICE, DeviceRef, Event};
use eventsourcing::{Recorded, StreamId};
use sqlx::PgConnection;

use crate::projection::Projection;
use device::DeviceChange;
use presence::Settings;
use readings::Readings;
use rollup::Rollups;

pub use presence::{DueDecision, due_decisions, presence_setting};
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
    readings: Readings,
    /// That the readings fall into.
    weeks: BTreeSet<Week>,
    devices: Vec<DeviceChange>,
    device_of_stream: HashMap<StreamId, usize>,
    rollups: Rollups,
    settings: Settings,
}

impl Projection for Telemetry {
    const NAME: &'static str = "telemetry";
    const CATEGORIES: &'static [&'static str] = &[DEVICE, domain::telemetry::presence::CATEGORY];
    /// 2: presence as it is decided. 3: devices have numbers.
    const VERSION: i32 = 3;
    const PREPARE: Option<&'static str> = Some(include_str!("prepare.sql"));
    const DDL: &'static str = include_str!("schema.sql");
    const FILLED_WITHOUT: &'static [&'static str] = &["reading_key"];
    /// Rollups cost a row for each device, field and width, however few readings there are.
    const PACE: Duration = Duration::from_millis(50);
    type Event = AnyEvent;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<AnyEvent>) {
        let (recorded, event) = event.split();
        match event {
            AnyEvent::Device(told) => changes.device_event(&recorded, told),
            AnyEvent::Presence(chosen) => changes.settings.add(&recorded, &chosen),
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.weeks.is_empty() {
            sqlx::query("select ensure_partitions($1)")
                .bind(changes.weeks.into_iter().map(Week::monday).collect::<Vec<_>>())
                .execute(&mut *connection)
                .await?;
        }
        changes.settings.write(connection).await?;
        let numbers = device::write(changes.devices, connection).await?;
        changes.readings.write(&numbers, connection).await?;
        changes.rollups.write(&numbers, connection).await
    }
}

impl Changes {
    fn device_event(&mut self, recorded: &Recorded<()>, told: Event) {
        match told {
            Event::ReadingRecorded(reading) => {
                self.weeks.insert(Week::of(reading.time));
                let index = self.device(recorded, reading.device());
                self.readings.add(recorded, index, &reading);
                self.rollups.add(index, recorded.position, &reading);
                self.devices[index].read(recorded, reading);
            }
            Event::DeviceConnected(said) => {
                let index = self.device(recorded, said.device());
                self.devices[index].connection(recorded, said, true);
            }
            Event::DeviceDisconnected(said) => {
                let index = self.device(recorded, said.device());
                self.devices[index].connection(recorded, said, false);
            }
            Event::MessageRejected(_) => {} // In a stream of another category; shown by the feed.
        }
    }

    /// Index of the event's device among those of the batch.
    fn device(&mut self, recorded: &Recorded<()>, device: DeviceRef<'_>) -> usize {
        if let Some(&index) = self.device_of_stream.get(&recorded.stream) {
            return index;
        }
        self.devices.push(DeviceChange::new(device, recorded));
        self.device_of_stream.insert(recorded.stream.clone(), self.devices.len() - 1);
        self.devices.len() - 1
    }
}

/// A week from Monday to Monday in UTC, by its number since the one of 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Week(i64);

impl Week {
    fn of(time: DateTime<Utc>) -> Self {
        // That day was a Thursday.
        Self((time.timestamp().div_euclid(SECONDS_A_DAY) + 3).div_euclid(7))
    }

    fn monday(self) -> NaiveDate {
        let seconds = (self.0 * 7 - 3) * SECONDS_A_DAY;
        DateTime::from_timestamp(seconds, 0).unwrap_or_default().date_naive()
    }
}

const SECONDS_A_DAY: i64 = 86_400;
