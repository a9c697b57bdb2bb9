//! An hour of readings of each device and a day of page views, written once: the append expects the
//! streams of the devices to be new.

use chrono::{DateTime, TimeDelta, Utc};
use domain::page_views;
use domain::telemetry::{Batch, Event, Limits, device_stream};
use eventstore::{Append, AppendError, EventStore, ExpectedVersion, NewEvent, StreamAppend};
use serde_json::{Value, json};

use super::super::sensors::{self, DEVICES, Excursion};
use super::super::visitors;
use super::envelope;

/// Readings per device, one per minute.
const READINGS: i32 = 60;
/// Duration of the alarm in each device's hour, in minutes.
const ALARM_MINUTES: i32 = 6;
/// Time from the alarm of one device to that of the next, in minutes.
const ALARM_EVERY: i32 = 8;
/// Page views, and the time over which they are spread.
const VIEWS: u32 = 400;
const VIEWED_WITHIN: TimeDelta = TimeDelta::hours(24);

/// Writes the history. Returns false if an earlier run did.
pub(super) async fn write(store: &EventStore) -> anyhow::Result<bool> {
    let now = Utc::now();
    let devices = (0..DEVICES.len()).map(|index| readings(index, now));
    let mut streams: Vec<_> = devices.collect::<anyhow::Result<_>>()?;
    streams.push(page_views(now)?);
    let request = Append { streams, metadata: envelope().metadata, receipt: None };
    match store.append(request).await {
        Ok(_) => Ok(true),
        Err(AppendError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns the append of a device's readings of the last hour.
fn readings(index: usize, now: DateTime<Utc>) -> anyhow::Result<StreamAppend> {
    let device = &DEVICES[index];
    let alarm_at = ALARM_EVERY * i32::try_from(index)? + 2;
    let sent = (0..READINGS).map(|minute| {
        let time = now - TimeDelta::minutes((READINGS - minute).into());
        let progress = f64::from(minute - alarm_at) / f64::from(ALARM_MINUTES);
        let excursion = (0.0..=1.0).contains(&progress).then_some(Excursion { alarm: 0, progress });
        let mut reading = sensors::measured(index, time, excursion);
        reading.extend([
            ("user_id".to_owned(), json!(device.user_id)),
            ("device_id".to_owned(), json!(device.id)),
            ("sequence_id".to_owned(), json!(minute)),
            ("boot_id".to_owned(), json!("demo")),
            ("time".to_owned(), json!(time)),
        ]);
        Value::Object(reading)
    });
    let sent = serde_json::to_vec(&sent.collect::<Vec<_>>())?;
    let Batch(readings) = Batch::from_json(&Limits::DEFAULT, &sent, now)?;
    let mut events = Vec::new();
    let mut stream = None;
    for reading in readings {
        let (id, reading) = reading?;
        stream = Some(device_stream(reading.device()));
        events.push(NewEvent::with_id(id, &Event::ReadingRecorded(reading))?);
    }
    let stream = stream.ok_or_else(|| anyhow::anyhow!("the device has no readings"))?;
    Ok(StreamAppend { stream, expected: ExpectedVersion::NoStream, events })
}

/// Returns the append of the last day's page views.
fn page_views(now: DateTime<Utc>) -> anyhow::Result<StreamAppend> {
    let apart = VIEWED_WITHIN / i32::try_from(VIEWS)?;
    let mut at = now - VIEWED_WITHIN;
    let mut events = Vec::new();
    for _ in 0..VIEWS {
        at += apart;
        let view = page_views::Event::PageViewed(visitors::view(at));
        events.push(NewEvent::new(&view)?);
    }
    Ok(StreamAppend { stream: page_views::stream(now), expected: ExpectedVersion::Any, events })
}
