//! Rollups: count, sum, extremes, first and last value of a field in a bucket of time, stored so that
//! buckets can be added together.

mod bucket;
mod sum;
mod write;

use std::collections::{HashMap, HashSet};

use domain::telemetry::Reading;
use eventsourcing::Position;
use eventsourcing::json::{Object, Plain};
use indexmap::{IndexMap, IndexSet};
use serde_json::Value;
use sqlx::PgConnection;

use bucket::{Minutes, WIDTHS};
pub(super) use bucket::{Rollup, Sample};
use write::Field;
pub(super) use write::RollupDevice;

/// The fields of one device in a batch, in order of appearance.
#[derive(Debug, Default)]
struct Fields(IndexMap<String, Minutes>);

impl Fields {
    /// Adds a value. `guess` is its place in the reading: readings of a device most often have the same
    /// fields, and then no hash is computed.
    fn add(&mut self, guess: usize, name: &str, minute: i64, rollup: Rollup) {
        if let Some((known, minutes)) = self.0.get_index_mut(guess)
            && known == name
        {
            return minutes.add(minute, rollup);
        }
        if let Some(minutes) = self.0.get_mut(name) {
            minutes.add(minute, rollup);
        } else {
            let minutes = Minutes { minute, rollup, others: HashMap::new() };
            self.0.insert(name.to_owned(), minutes);
        }
    }
}

/// Fields that have rollups whatever the quota is.
pub(super) const ALWAYS: [&str; 2] = ["temperature", "battery"];

/// The rollups of a batch by minute, by the index of the device in the batch. Wider buckets are added up
/// when written.
#[derive(Debug, Default)]
pub(super) struct Rollups(Vec<DeviceFields>);

/// The fields of one device in a batch.
#[derive(Debug, Default)]
struct DeviceFields {
    numbers: Fields,
    /// Names of the other fields: texts, flags, objects and so on.
    others: IndexSet<String>,
}

/// Calls `visit` with every field of a reading, the `known` ones (see [`ALWAYS`]) and nested ones: its name,
/// and its value if it is a number. Of the items of arrays, only numbers.
pub(super) fn each_field(
    known: [Option<f64>; 2],
    extra_data: &Object,
    visit: &mut dyn FnMut(&str, Option<f64>),
) {
    for (name, value) in ALWAYS.into_iter().zip(known) {
        if value.is_some() {
            visit(name, value);
        }
    }
    let extra_data = serde_json::from_str(extra_data.as_str());
    let Ok(Plain(Value::Object(extra_data))) = extra_data else { return };
    domain::each_field(&extra_data, &mut |name, field| {
        let number = field.value.as_f64();
        if number.is_some() || !field.in_array {
            visit(name, number);
        }
    });
}

/// Fields that a device has sent before a batch.
#[derive(Debug, Default)]
pub(super) struct KnownFields {
    /// Those of `extra_data` that have rollups.
    pub(super) numbers: Vec<String>,
    /// Those that are not numbers.
    pub(super) others: Vec<String>,
}

/// What [`Rollups::admit`] decided about a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    /// New fields that have rollups from now on, in order of appearance.
    pub(super) fields: Vec<String>,
    /// New fields that are not numbers, in order of appearance.
    pub(super) other_fields: Vec<String>,
    /// Values of fields beyond the quota.
    pub(super) refused_values: i64,
}

impl Rollups {
    /// Adds every numeric field of a reading.
    pub(super) fn add(&mut self, device: usize, position: Position, reading: &Reading) {
        let Self(devices) = self;
        if devices.len() <= device {
            devices.resize_with(device + 1, DeviceFields::default);
        }
        let DeviceFields { numbers, others } = &mut devices[device];
        let minute = reading.time.timestamp().div_euclid(60);
        let mut place = 0;
        let known = [reading.temperature, reading.battery];
        each_field(known, &reading.extra_data, &mut |name, value| match value {
            Some(value) => {
                let sample = Sample { at: reading.time, position, value };
                numbers.add(place, name, minute, Rollup::of(sample));
                place += 1;
            }
            None => {
                if !others.contains(name) {
                    others.insert(name.to_owned());
                }
            }
        });
    }

    /// Whether the device has fields that are not among `known`.
    pub(super) fn has_new(&self, device: usize, known: &KnownFields) -> bool {
        let Some(DeviceFields { numbers: Fields(fields), others }) = self.0.get(device) else {
            return false;
        };
        let extra = fields.keys().filter(|name| !ALWAYS.contains(&name.as_str())).count();
        extra > known.numbers.len()
            || known.numbers.iter().filter(|name| fields.contains_key(*name)).count() < extra
            || others.iter().any(|name| !known.others.contains(name))
    }

    /// Admits new fields of a device that has the fields `known`, up to `quota`, and drops the values of
    /// all others. The order of appearance decides, so it does not matter how the readings are divided
    /// into batches. Of the fields that are not numbers, as many are admitted.
    pub(super) fn admit(&mut self, device: usize, known: &KnownFields, quota: usize) -> Admitted {
        let mut admitted = Admitted::default();
        let Some(DeviceFields { numbers: Fields(fields), others }) = self.0.get_mut(device) else {
            return admitted;
        };
        let new = others.iter().filter(|name| !known.others.contains(name));
        admitted.other_fields =
            new.take(quota.saturating_sub(known.others.len())).cloned().collect();
        let known = &known.numbers;
        let names: HashSet<&str> = known.iter().map(String::as_str).chain(ALWAYS).collect();
        fields.retain(|name, minutes| {
            if names.contains(name.as_str()) {
                return true;
            }
            let room = known.len() + admitted.fields.len() < quota;
            if room {
                admitted.fields.push(name.clone());
            } else {
                admitted.refused_values +=
                    minutes.iter().map(|(_, rollup)| rollup.count).sum::<i64>();
            }
            room
        });
        admitted
    }

    /// Writes the rollups of the batch's `devices`.
    pub(super) async fn write(
        &self,
        devices: &[RollupDevice],
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let fields = self.fields(devices);
        write::upsert(WIDTHS[0], &write::minutes(&fields), connection).await?;
        write::upsert(WIDTHS[1], &write::closed(&fields, RollupDevice::hour), connection).await?;
        write::close(devices, WIDTHS[0], WIDTHS[1], connection).await?;
        write::upsert(WIDTHS[2], &write::closed(&fields, RollupDevice::day), connection).await?;
        write::close(devices, WIDTHS[1], WIDTHS[2], connection).await
    }

    /// Every field of `devices`.
    fn fields<'r>(&'r self, devices: &'r [RollupDevice]) -> Vec<Field<'r>> {
        let devices = self.0.iter().zip(devices);
        let fields = devices.flat_map(|(DeviceFields { numbers: Fields(fields), .. }, device)| {
            fields.iter().map(move |(name, minutes)| Field { device, name, minutes })
        });
        fields.collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::telemetry::Event;

    use super::*;
    use crate::testing::golden;

    fn rollup(second: i64, position: i64, value: f64) -> Rollup {
        let at = DateTime::from_timestamp(second, 0).unwrap();
        Rollup::of(Sample { at, position: Position(position), value })
    }

    #[test]
    fn the_order_of_addition_does_not_matter() {
        let parts = [rollup(3, 1, 0.1), rollup(1, 2, 0.2), rollup(2, 3, 1e15), rollup(3, 4, 0.3)];
        let sum = |order: [usize; 4]| {
            let mut total = parts[order[0]].clone();
            order[1..].iter().for_each(|&index| total.add(&parts[index]));
            total
        };
        let total = sum([0, 1, 2, 3]);
        assert_eq!(total, sum([3, 2, 1, 0]));
        assert_eq!(total, sum([2, 0, 3, 1]));
        assert_eq!((total.first.value, total.last.value, total.count), (0.2, 0.3, 4));
        assert_eq!(total.sum.to_string(), "10000000000000006e-1");
    }

    fn reading(second: i64, fields: &[(&str, i64)]) -> Reading {
        let event: Event = golden("telemetry", "reading_recorded");
        let Event::ReadingRecorded(mut reading) = event else { panic!("a reading") };
        reading.temperature = Some(21.5);
        reading.battery = None;
        reading.time = DateTime::from_timestamp(second, 0).unwrap();
        let fields = fields.iter().map(|(name, value)| format!(r#""{name}":{value},"#));
        let fields = fields.collect::<String>();
        let extra = format!(r#"{{{fields}"gps":{{"lat":1.5,"fix":"3d"}},"room":"attic"}}"#);
        reading.extra_data = serde_json::from_str(&extra).unwrap();
        reading
    }

    fn counts(Rollups(devices): &Rollups) -> Vec<(&str, i64, i64)> {
        let fields = devices.iter().flat_map(|device| &device.numbers.0);
        let mut counts: Vec<_> = fields
            .flat_map(|(name, minutes)| {
                minutes.iter().map(move |(minute, rollup)| (name.as_str(), minute, rollup.count))
            })
            .collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn every_numeric_field_has_a_rollup_by_minute() {
        let mut rollups = Rollups::default();
        for (second, position) in [(0, 1), (60, 2), (59, 3)] {
            rollups.add(0, Position(position), &reading(second, &[("co2", 400)]));
        }
        let expected = [
            ("co2", 0, 2),
            ("co2", 1, 1),
            ("gps.lat", 0, 2),
            ("gps.lat", 1, 1),
            ("temperature", 0, 2),
            ("temperature", 1, 1),
        ];
        assert_eq!(counts(&rollups), expected);
    }

    #[test]
    fn fields_beyond_the_quota_are_counted_and_not_aggregated() {
        let mut rollups = Rollups::default();
        for position in 1..=2 {
            let fields = [("a", 1), ("b", 2), ("c", 3)];
            rollups.add(0, Position(position), &reading(0, &fields));
        }
        let known = |numbers: &[&str], others: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            KnownFields { numbers: owned(numbers), others: owned(others) }
        };
        let before = known(&["b"], &["room"]);
        assert!(rollups.has_new(0, &before));
        let KnownFields { numbers: fields, others: other_fields } = known(&["a"], &["gps"]);
        let admitted = rollups.admit(0, &before, 2);
        assert_eq!(admitted, Admitted { fields, other_fields, refused_values: 4 });
        assert_eq!(counts(&rollups), [("a", 0, 2), ("b", 0, 2), ("temperature", 0, 2)]);
        let after = known(&["b", "a"], &["room", "gps", "gps.fix"]);
        assert!(!rollups.has_new(0, &after));
        assert_eq!(rollups.admit(0, &after, 0), Admitted::default());
    }
}
