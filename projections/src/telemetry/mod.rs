//! Telemetry: readings, the last reading and the presence of each device, and rollups by minute, hour
//! and day.

mod buckets;
mod device;
mod device_fields;
mod limits;
mod names;
mod presence;
mod query;
mod readings;
mod rejections;
mod rollup;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use domain::telemetry::{AnyEvent, DEVICE, DeviceRef, Event, REJECTION};
use eventsourcing::{Recorded, StreamId};
use sqlx::PgConnection;

use crate::projection::Projection;
use device::DeviceChange;
use presence::Settings;
use readings::Readings;
use rejections::Rejections;
use rollup::Rollups;

pub use buckets::{Bucket, BucketCursor, buckets};
pub use device_fields::{DeviceFields, device_fields};
pub use limits::{Limits, set_limits};
pub use names::ReasonName;
pub use presence::{DueDecision, due_decisions, presence_setting};
pub use query::{
    Device, DeviceCursor, Range, ReadingRow, device, devices, offline_devices, readings,
};
pub use rejections::{Rejection, RejectionFilter, count_rejections, rejections};

/// The read model of telemetry.
#[derive(Debug)]
pub struct Telemetry;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    readings: Readings,
    /// The weeks of the readings.
    weeks: BTreeSet<Week>,
    devices: Vec<DeviceChange>,
    device_of_stream: HashMap<StreamId, usize>,
    rollups: Rollups,
    settings: Settings,
    rejections: Rejections,
}

impl Projection for Telemetry {
    const NAME: &'static str = "telemetry";
    const CATEGORIES: &'static [&'static str] =
        &[DEVICE, domain::telemetry::presence::CATEGORY, REJECTION];
    /// 2 added presence, 3 the numbers of devices, 4 limits and open buckets, 5 exact sums
    /// and digits, 6 nested fields, unset clocks and refused messages,
    /// 7 superseded sessions and lists of offline devices.
    const VERSION: i32 = 7;
    const PREPARE: Option<&'static str> = Some(include_str!("prepare.sql"));
    const DDL: &'static str = include_str!("schema.sql");
    const FILLED_WITHOUT: &'static [&'static str] = &["reading_key"];
    /// A batch writes one rollup row for each device and field, however few readings it has.
    const PACE: Duration = Duration::from_millis(50);
    type Event = AnyEvent;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<AnyEvent>) {
        let (recorded, event) = event.split();
        match event {
            AnyEvent::Device(event) => changes.device_event(&recorded, event),
            AnyEvent::Presence(event) => changes.settings.add(&recorded, &event),
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.weeks.is_empty() {
            sqlx::query("select ensure_partitions($1)")
                .bind(changes.weeks.into_iter().map(Week::monday).collect::<Vec<_>>())
                .execute(&mut *connection)
                .await?;
        }
        let Changes { readings, devices, mut rollups, settings, rejections, .. } = changes;
        settings.write(connection).await?;
        rejections.write(connection).await?;
        let stored = device::load(&devices, connection).await?;
        let admitted = limits::admit(&mut rollups, &stored, connection).await?;
        let of_rollups = devices.iter().zip(&stored);
        let of_rollups: Vec<_> =
            of_rollups.map(|(device, stored)| device.of_rollups(stored.as_ref())).collect();
        device::write(devices, stored, admitted, connection).await?;
        readings.write(|device| of_rollups[device].number(), connection).await?;
        rollups.write(&of_rollups, connection).await
    }
}

impl Changes {
    fn device_event(&mut self, recorded: &Recorded<()>, event: Event) {
        match event {
            Event::ReadingRecorded(reading) => {
                self.weeks.insert(Week::of(reading.time));
                let index = self.device(recorded, reading.device());
                self.readings.add(recorded, index, &reading);
                self.rollups.add(index, recorded.position, &reading);
                self.devices[index].read(recorded, reading);
            }
            Event::DeviceConnected(connection) => {
                let index = self.device(recorded, connection.device());
                self.devices[index].connection(recorded, connection, true);
            }
            Event::DeviceDisconnected(connection) => {
                let index = self.device(recorded, connection.device());
                self.devices[index].connection(recorded, connection, false);
            }
            Event::MessageRejected(rejected) => self.rejections.add(recorded, rejected),
        }
    }

    /// Returns the index of the event's device in the batch.
    fn device(&mut self, recorded: &Recorded<()>, device: DeviceRef<'_>) -> usize {
        if let Some(&index) = self.device_of_stream.get(&recorded.stream) {
            return index;
        }
        self.devices.push(DeviceChange::new(device, recorded));
        self.device_of_stream.insert(recorded.stream.clone(), self.devices.len() - 1);
        self.devices.len() - 1
    }
}

/// A week from Monday to Monday in UTC, by its number since the week of 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Week(i64);

impl Week {
    fn of(time: DateTime<Utc>) -> Self {
        // 1970-01-01 was a Thursday.
        Self((time.timestamp().div_euclid(SECONDS_A_DAY) + 3).div_euclid(7))
    }

    fn monday(self) -> NaiveDate {
        let seconds = (self.0 * 7 - 3) * SECONDS_A_DAY;
        DateTime::from_timestamp(seconds, 0).unwrap_or_default().date_naive()
    }
}

const SECONDS_A_DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden;

    #[test]
    fn a_week_begins_on_monday() {
        let monday = |second| Week::of(DateTime::from_timestamp(second, 0).unwrap()).monday();
        assert_eq!(monday(0).to_string(), "1969-12-29");
        assert_eq!(monday(4 * SECONDS_A_DAY - 1).to_string(), "1969-12-29");
        assert_eq!(monday(4 * SECONDS_A_DAY).to_string(), "1970-01-05");
    }

    #[test]
    fn a_reading_counts_as_a_row_a_week_and_rollups() {
        let changes = crate::testing::fold::<Telemetry>([
            (
                StreamId::new(DEVICE, "ada~attic"),
                AnyEvent::Device(golden("telemetry", "reading_recorded")),
            ),
            (
                StreamId::new(domain::telemetry::presence::CATEGORY, "ada"),
                AnyEvent::Presence(golden("telemetry", "presence_configured")),
            ),
        ]);
        assert_eq!((changes.weeks.len(), changes.devices.len()), (1, 1));
        assert_eq!(changes.readings.len(), 1);
        assert_eq!(changes.settings.len(), 1);
    }
}
