//! The payload of a message: cheap to make, and the same each time.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};

use super::plan::Plan;

/// Number of messages after which values repeat.
const PERIOD: u32 = 200;

/// Appends the fields of a reading as JSON, without braces. Its time is when it was due, counted from
/// `started_at`, whenever it is sent.
pub(crate) fn write(
    text: &mut String,
    plan: &Plan,
    started_at: DateTime<Utc>,
    (device, sequence): (u32, u32),
) {
    let due = TimeDelta::from_std(plan.due(device, sequence)).unwrap_or_default();
    let time = (started_at + due).timestamp_millis();
    let boot = plan.boot.as_simple();
    put(text, format_args!(r#""sequence_id":{sequence},"boot_id":"{boot}","time":{time}"#));
    for (index, field) in (0_u32..).zip(&plan.fields) {
        let step = (sequence + index * 7) % PERIOD;
        if field == "battery" {
            put(text, format_args!(r#","battery":{}"#, 100 - step / 2));
        } else {
            put(text, format_args!(r#","{field}":{}.{}"#, 15 + step / 10, step % 10));
        }
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use domain::telemetry::{DeviceId, DeviceRef, Limits, Reading, UserId};

    #[test]
    fn a_message_is_a_valid_reading_and_the_same_each_time() {
        let plan = plan(1, 200.0, 1);
        let started_at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let made = || {
            let mut text = "{".to_owned();
            write(&mut text, &plan, started_at, (2, 199));
            text + "}"
        };
        let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
        let device = DeviceRef { user_id: &user_id, device_id: &device_id };
        let read =
            |at| Reading::from_message(&Limits::DEFAULT, device, made().as_bytes(), at).unwrap();
        let (id, reading) = read(started_at);
        assert_eq!((reading.sequence_id, reading.temperature), (199, Some(34.9)));
        assert_eq!(reading.battery, Some(97.0));
        assert_eq!(reading.time, started_at + TimeDelta::milliseconds(998));
        assert_eq!(id, read(started_at + TimeDelta::hours(1)).0);
    }
}
