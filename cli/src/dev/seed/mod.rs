//! Demo data: an hour of readings of three devices, and two works. Written once: the append expects
//! the devices' streams to be new.

use chrono::{TimeDelta, Utc};
use commands::{Envelope, Handler};
use domain::telemetry::{Batch, Event, Limits, device_stream};
use domain::works::{Command, Work, stream};
use eventsourcing::Metadata;
use eventstore::{Append, AppendError, ExpectedVersion, NewEvent, StreamAppend};
use serde_json::json;
use uuid::Uuid;

use gateway::parts::Parts;
use gateway::work_code::work_code;

/// User id, device id and mean temperature of each device, in °C.
const DEVICES: [(&str, &str, f64); 3] =
    [("ada", "kitchen", 21.0), ("ada", "freezer", -18.0), ("grace", "server-room", 26.0)];
/// Readings per device, one per minute.
const READINGS: i32 = 60;
/// `add_up_to` of each work.
const WORKS: [u32; 2] = [100, 1_000_000];

/// Writes the demo data unless an earlier run did.
pub(super) async fn seed(parts: &Parts) -> anyhow::Result<()> {
    let metadata = Metadata { actor: Some("dev".into()), ..Metadata::default() };
    let streams = DEVICES.map(readings).into_iter().collect::<anyhow::Result<_>>()?;
    let request = Append { streams, metadata: metadata.clone(), receipt: None };
    match parts.store.append(request).await {
        Ok(_) => {}
        Err(AppendError::Conflict { .. }) => return Ok(()), // An earlier run wrote them.
        Err(error) => return Err(error.into()),
    }
    let works = Handler::<Work>::new(parts.store.clone());
    for add_up_to in WORKS {
        let command = Command::Demand { work_code: work_code("api"), add_up_to };
        let envelope = Envelope { metadata: metadata.clone(), ..Envelope::default() };
        works.create(&stream(Uuid::now_v7()), command, envelope).await?;
    }
    Ok(())
}

/// Returns the append of a device's readings of the last hour.
fn readings((user_id, device_id, mean): (&str, &str, f64)) -> anyhow::Result<StreamAppend> {
    let now = Utc::now();
    let sent = (0..READINGS).map(|minute| {
        let wave = (f64::from(minute) / 10.0).sin();
        json!({
            "user_id": user_id, "device_id": device_id, "sequence_id": minute, "boot_id": "demo",
            "time": now - TimeDelta::minutes((READINGS - minute).into()),
            "temperature": mean + (wave * 20.0).round() / 10.0,
            "battery": 100 - minute / 6,
            "humidity": 40 + minute % 7,
        })
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
    Ok(StreamAppend {
        stream: stream.ok_or_else(|| anyhow::anyhow!("the device has no readings"))?,
        expected: ExpectedVersion::NoStream,
        events,
    })
}
