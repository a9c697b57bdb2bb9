//! Writes the rollups of a batch. A reading changes the row of its minute only: see `schema.sql` for
//! when minutes are added to their hour, and hours to their day.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::bucket::{Minutes, Rollup, WIDTHS};
use crate::columns::Columns;

/// Rows of one statement. Bounds the memory of its arguments.
const ROWS_PER_STATEMENT: usize = 4_096;

/// Adds rows to those that are stored.
macro_rules! add {
    ($rows:literal) => {
        concat!(
            "insert into rollup as r
               (device, field, width, bucket, count, sum, min, max,
                first, first_at, first_position, last, last_at, last_position) ",
            $rows,
            " on conflict (device, width, bucket, field) do update set
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
                     then excluded.last_position else r.last_position end"
        )
    };
}

/// A device of the batch: its number, and the minutes that are open before and after the batch, which
/// are those of its latest reading by its own clock; `None` without a reading.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct RollupDevice {
    number: i64,
    before: Option<i64>,
    after: Option<i64>,
}

impl RollupDevice {
    /// A device with the time of its latest reading before the batch, and of its latest in the batch.
    pub(in super::super) fn new(
        number: i64,
        stored: Option<DateTime<Utc>>,
        batch: Option<DateTime<Utc>>,
    ) -> Self {
        let minute = |time: DateTime<Utc>| time.timestamp().div_euclid(WIDTHS[0].into());
        let before = stored.map(minute);
        Self { number, before, after: before.max(batch.map(minute)) }
    }

    /// Number of the device, in every table.
    pub(in super::super) fn number(&self) -> i64 {
        self.number
    }

    /// The bucket of `width` that was open before the batch and is not any more.
    fn closing(&self, width: i32) -> Option<i64> {
        let bucket = |minute: Option<i64>| minute.map(|minute| wider(minute, width));
        let before = bucket(self.before)?;
        (bucket(self.after)? > before).then_some(before)
    }

    /// The hour that gets the batch's values of `minute` at once: not if the minute is still open, and
    /// not if it closes, because then all of it is added.
    pub(super) fn hour(&self, minute: i64) -> Option<i64> {
        let closed = Some(minute) < self.after && Some(minute) != self.before;
        closed.then(|| wider(minute, WIDTHS[1]))
    }

    /// The day that gets the batch's values of `minute` at once, likewise.
    pub(super) fn day(&self, minute: i64) -> Option<i64> {
        let hour = |minute| wider(minute, WIDTHS[1]);
        let closed = Some(hour(minute)) < self.after.map(hour);
        let closes = Some(hour(minute)) == self.before.map(hour);
        (closed && !closes).then(|| wider(minute, WIDTHS[2]))
    }
}

/// The bucket of `width` that holds a minute, counted from the epoch.
fn wider(minute: i64, width: i32) -> i64 {
    minute.div_euclid(i64::from(width / WIDTHS[0]))
}

/// A field of a device of the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'r> {
    pub(super) device: &'r RollupDevice,
    pub(super) name: &'r str,
    pub(super) minutes: &'r Minutes,
}

/// A bucket to add to, by its number, and what to add.
type Row<'r> = (Field<'r>, i64, Cow<'r, Rollup>);

/// The values of each minute.
pub(super) fn minutes<'r>(fields: &[Field<'r>]) -> Vec<Row<'r>> {
    let mut rows = Vec::new();
    for field in fields {
        let minutes = field.minutes.iter();
        rows.extend(minutes.map(|(minute, rollup)| (*field, minute, Cow::Borrowed(rollup))));
    }
    rows
}

/// The values of the minutes that are added to the wider bucket `of` at once.
pub(super) fn closed<'r>(
    fields: &[Field<'r>],
    of: fn(&RollupDevice, i64) -> Option<i64>,
) -> Vec<Row<'r>> {
    let mut rows = Vec::new();
    for field in fields {
        let wider = field.minutes.wider(|minute| of(field.device, minute));
        rows.extend(wider.into_iter().map(|(bucket, rollup)| (*field, bucket, Cow::Owned(rollup))));
    }
    rows
}

/// Adds rows to buckets of `width`.
pub(super) async fn upsert(
    width: i32,
    rows: &[Row<'_>],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        Columns::of(chunk)
            .column("device", |(field, ..)| field.device.number)
            .column("field", |(field, ..)| field.name)
            .column("width", |_| width)
            .column("bucket", |(_, bucket, _)| bucket * i64::from(width))
            .column("count", |(.., rollup)| rollup.count)
            .column("sum", |(.., rollup)| rollup.sum.to_string())
            .column("min", |(.., rollup)| rollup.min)
            .column("max", |(.., rollup)| rollup.max)
            .column("first", |(.., rollup)| rollup.first.value)
            .column("first_at", |(.., rollup)| rollup.first.at)
            .column("first_position", |(.., rollup)| rollup.first.position.0)
            .column("last", |(.., rollup)| rollup.last.value)
            .column("last_at", |(.., rollup)| rollup.last.at)
            .column("last_position", |(.., rollup)| rollup.last.position.0)
            .execute(
                add!(
                    "select device, field, width, to_timestamp(bucket), count,
                            case when n.sum like '% %'
                                 then (select sum(part::numeric)
                                       from unnest(string_to_array(n.sum, ' ')) as part)
                                 else n.sum::numeric end,
                            min, max, first, first_at, first_position, last, last_at, last_position
                     from {n}"
                ),
                connection,
            )
            .await?;
    }
    Ok(())
}

/// Adds the stored rows of the buckets of `width` that close to those of `wider`.
pub(super) async fn close(
    devices: &[RollupDevice],
    width: i32,
    wider: i32,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let closing = devices.iter().filter_map(|device| Some((device, device.closing(width)?)));
    let closing: Vec<_> = closing.collect();
    Columns::of(&closing)
        .column("device", |(device, _)| device.number)
        .column("width", |_| width)
        .column("bucket", |(_, bucket)| bucket * i64::from(width))
        .column("wider", |_| wider)
        .execute(
            add!(
                "select c.device, c.field, n.wider,
                        date_bin(make_interval(secs => n.wider), c.bucket, 'epoch'), c.count, c.sum,
                        c.min, c.max, c.first, c.first_at, c.first_position, c.last, c.last_at,
                        c.last_position
                 from {n} cross join lateral (
                   select * from rollup
                   where device = n.device and width = n.width
                     and bucket = to_timestamp(n.bucket) offset 0 -- one index scan each
                 ) c"
            ),
            connection,
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(minute * 60 + 30, 0)
    }

    #[test]
    fn a_minute_is_added_to_its_hour_once() {
        let device = RollupDevice::new(1, at(70), at(75));
        assert_eq!((device.closing(60), device.closing(3_600)), (Some(70), None));
        // Late, closing, in between, open.
        let hours = [59, 69, 70, 72, 75].map(|minute| device.hour(minute));
        assert_eq!(hours, [Some(0), Some(1), None, Some(1), None]);
        let days = [59, 69, 70, 72, 75].map(|minute| device.day(minute));
        assert_eq!(days, [Some(0), None, None, None, None]);
    }

    #[test]
    fn an_hour_is_added_to_its_day_once() {
        let device = RollupDevice::new(1, at(70), at(24 * 60 + 5));
        assert_eq!((device.closing(60), device.closing(3_600)), (Some(70), Some(1)));
        let days = [59, 69, 70, 180, 24 * 60 + 4].map(|minute| device.day(minute));
        assert_eq!(days, [Some(0), None, None, Some(0), None]);
    }

    #[test]
    fn the_first_readings_of_a_device_close_nothing_that_is_stored() {
        let device = RollupDevice::new(1, None, at(61));
        assert_eq!((device.closing(60), device.closing(3_600)), (None, None));
        assert_eq!([0, 60, 61].map(|minute| device.hour(minute)), [Some(0), Some(1), None]);
        assert_eq!([0, 60, 61].map(|minute| device.day(minute)), [Some(0), None, None]);
        let silent = RollupDevice::new(1, at(5), None);
        assert_eq!((silent.closing(60), silent.hour(4), silent.hour(5)), (None, Some(0), None));
    }
}
