//! Rollups: count, sum, extremes, first and last value of a field in a bucket of time, stored so that
//! buckets can be added together.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use domain::telemetry::Reading;
use eventsourcing::Position;
use sqlx::PgConnection;

use crate::columns::Columns;

/// Widths of the stored buckets, in seconds.
pub const WIDTHS: [i32; 3] = [60, 3_600, 86_400];

/// Converts a value to billionths. Sums are whole numbers, because the sum of floats depends on their
/// order, and a rebuild adds in batches of another size.
#[expect(clippy::cast_possible_truncation, reason = "saturates beyond 10^29")]
fn billionths(value: f64) -> i128 {
    // The fraction is multiplied by itself: the product of a large value has no digits left for it.
    let fraction = (value.fract() * 1e9).round() as i128;
    (value.trunc() as i128).saturating_mul(1_000_000_000).saturating_add(fraction)
}

/// A value and the time of its reading; the position orders equal times.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    at: DateTime<Utc>,
    position: Position,
    value: f64,
}

impl Sample {
    fn is_before(&self, other: &Self) -> bool {
        (self.at, self.position) < (other.at, other.position)
    }
}

/// The state of one bucket.
#[derive(Debug, Clone, PartialEq)]
struct Rollup {
    count: i64,
    sum: i128,
    min: f64,
    max: f64,
    first: Sample,
    last: Sample,
}

impl Rollup {
    fn of(sample: Sample) -> Self {
        let sum = billionths(sample.value);
        let Sample { value, .. } = sample;
        Self { count: 1, sum, min: value, max: value, first: sample, last: sample }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.is_before(&self.first) {
            self.first = other.first;
        }
        if self.last.is_before(&other.last) {
            self.last = other.last;
        }
    }
}

/// Index of a device in its batch, index of a field among [`Rollups::fields`], bucket number.
type Key = (usize, usize, i64);

/// The rollups of a batch by minute. Wider buckets are added up when written.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    fields: Vec<String>,
    minutes: Vec<(Key, Rollup)>,
    index: HashMap<Key, usize>,
    /// Index in `minutes` of the last value, by device and field: the next value most often has the same
    /// key, and then no hash is computed.
    last: Vec<Vec<usize>>,
}

impl Rollups {
    /// Adds every numeric field of a reading.
    pub(super) fn add(&mut self, device: usize, position: Position, reading: &Reading) {
        let mut add = |field: &str, value: f64| {
            let sample = Sample { at: reading.time, position, value };
            let minute = reading.time.timestamp().div_euclid(WIDTHS[0].into());
            let key = (device, self.fields.intern(field), minute);
            self.add_at(key, Rollup::of(sample));
        };
        if let Some(temperature) = reading.temperature {
            add("temperature", temperature);
        }
        if let Some(battery) = reading.battery {
            add("battery", battery.into());
        }
        for (field, value) in &reading.extra_data {
            if let Some(value) = value.as_f64() {
                add(field, value);
            }
        }
    }

    fn add_at(&mut self, key: Key, rollup: Rollup) {
        let (device, field, _) = key;
        if self.last.len() <= device {
            self.last.resize_with(device + 1, Vec::new);
        }
        let last = &mut self.last[device];
        if let Some(&at) = last.get(field)
            && let Some((known, total)) = self.minutes.get_mut(at)
            && *known == key
        {
            return total.add(&rollup);
        }
        let at = *self.index.entry(key).or_insert(self.minutes.len());
        match self.minutes.get_mut(at) {
            Some((_, total)) => total.add(&rollup),
            None => self.minutes.push((key, rollup)),
        }
        if last.len() <= field {
            last.resize(field + 1, usize::MAX);
        }
        last[field] = at;
    }

    pub(super) async fn write(
        &self,
        numbers: &[i64],
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let mut rows: BTreeMap<(i32, Key), Rollup> = BTreeMap::new();
        for ((device, field, minute), rollup) in &self.minutes {
            for width in WIDTHS {
                let bucket = minute.div_euclid(i64::from(width / WIDTHS[0]));
                rows.entry((width, (*device, *field, bucket)))
                    .and_modify(|known| known.add(rollup))
                    .or_insert_with(|| rollup.clone());
            }
        }
        let rows: Vec<_> = rows.into_iter().collect();
        // One condition written twice is a third faster than one subquery for three columns.
        Columns::of(&rows)
            .column("device", |((_, (device, ..)), _)| numbers[*device])
            .column("field", |((_, (_, field, _)), _)| self.fields[*field].as_str())
            .column("width", |((width, _), _)| *width)
            .column("bucket", |((width, (.., bucket)), _)| bucket * i64::from(*width))
            .column("count", |(_, rollup)| rollup.count)
            .column("sum", |(_, rollup)| rollup.sum.to_string())
            .column("min", |(_, rollup)| rollup.min)
            .column("max", |(_, rollup)| rollup.max)
            .column("first", |(_, rollup)| rollup.first.value)
            .column("first_at", |(_, rollup)| rollup.first.at)
            .column("first_position", |(_, rollup)| rollup.first.position.0)
            .column("last", |(_, rollup)| rollup.last.value)
            .column("last_at", |(_, rollup)| rollup.last.at)
            .column("last_position", |(_, rollup)| rollup.last.position.0)
            .execute(
                "insert into rollup as r
                   (device, field, width, bucket, count, sum, min, max,
                    first, first_at, first_position, last, last_at, last_position)
                 select device, field, width, to_timestamp(bucket), count, sum::numeric,
                        min, max, first, first_at, first_position, last, last_at, last_position
                 from {n}
                 on conflict (device, width, field, bucket) do update set
                   count = r.count + excluded.count,
                   sum = r.sum + excluded.sum,
                   min = least(r.min, excluded.min),
                   max = greatest(r.max, excluded.max),
                   first = case when (excluded.first_at, excluded.first_position)
                              < (r.first_at, r.first_position)
                         then excluded.first else r.first end,
                   first_at = least(r.first_at, excluded.first_at),
                   first_position = case when (excluded.first_at, excluded.first_position)
                              < (r.first_at, r.first_position)
                         then excluded.first_position else r.first_position end,
                   last = case when (excluded.last_at, excluded.last_position)
                              > (r.last_at, r.last_position)
                         then excluded.last else r.last end,
                   last_at = greatest(r.last_at, excluded.last_at),
                   last_position = case when (excluded.last_at, excluded.last_position)
                              > (r.last_at, r.last_position)
                         then excluded.last_position else r.last_position end",
                connection,
            )
            .await
    }
}

/// Numbers names in order of appearance, by linear search: a batch has a handful of fields.
trait Intern {
    fn intern(&mut self, name: &str) -> usize;
}

impl Intern for Vec<String> {
    fn intern(&mut self, name: &str) -> usize {
        self.iter().position(|known| known == name).unwrap_or_else(|| {
            self.push(name.to_owned());
            self.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(total.sum, 1_000_000_000_000_000_600_000_000);
    }

    #[test]
    fn every_numeric_field_has_a_rollup_by_minute() {
        let event: Event = golden("telemetry", "reading_recorded");
        let Event::ReadingRecorded(mut reading) = event else { panic!("a reading") };
        reading.temperature = Some(21.5);
        reading.battery = None;
        reading.extra_data = [("co2".to_owned(), 400.into()), ("room".to_owned(), "attic".into())]
            .into_iter()
            .collect();
        let mut rollups = Rollups::default();
        for (second, position) in [(0, 1), (59, 2), (60, 3)] {
            reading.time = DateTime::from_timestamp(second, 0).unwrap();
            rollups.add(0, Position(position), &reading);
        }
        assert_eq!(rollups.fields, ["temperature", "co2"]);
        let counts: Vec<_> = rollups.minutes.iter().map(|(key, of)| (*key, of.count)).collect();
        assert_eq!(counts, [((0, 0, 0), 2), ((0, 1, 0), 2), ((0, 0, 1), 1), ((0, 1, 1), 1)]);
    }
}
