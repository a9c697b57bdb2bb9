//! Reads from the log what is stored of a run: every reading of its devices.

use std::collections::HashMap;
use std::time::Duration;

use domain::telemetry::{DEVICE, DeviceId, DeviceRef, UserId, device_stream};
use eventsourcing::{Position, StreamId};
use eventstore::{EventStore, Filter, RawEvent};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::ledger::Ledger;
use super::plan::Plan;

/// Events read at once.
const PAGE: usize = 10_000;
/// Time without an event of the run after which the log is complete: a redelivered message would be
/// stored at once.
const QUIET: Duration = Duration::from_secs(1);
/// Interval of polling the head of the log.
const INTERVAL: Duration = Duration::from_millis(100);

/// The fields that identify a reading.
#[derive(Deserialize)]
struct Identity {
    sequence_id: i64,
    #[serde(default)]
    boot_id: String,
}

/// Records what was stored after `from`, until everything acknowledged is found and nothing follows,
/// or until nothing has followed for `patience`.
pub(crate) async fn read(
    store: &EventStore,
    plan: &Plan,
    from: Position,
    ledger: &mut Ledger,
    patience: Duration,
) -> Result<(), Error> {
    let devices = streams(plan);
    let boot = plan.boot.as_simple().to_string();
    let filter = Filter {
        categories: vec![DEVICE.to_owned()],
        event_types: vec!["reading_recorded".to_owned()],
        stream: None,
    };
    let (mut at, mut grown_at) = (from, Instant::now());
    loop {
        let head = store.head().await?;
        while at < head {
            let page = store.read(at, head, &filter, PAGE).await?;
            for event in &page.events {
                let Some(&device) = devices.get(&event.stream) else { continue };
                grown_at = Instant::now();
                match identity(event)? {
                    Identity { boot_id, sequence_id } if boot_id == boot => {
                        ledger.stored(device, sequence_id);
                    }
                    Identity { .. } => ledger.unknown(),
                }
            }
            at = page.through;
        }
        let quiet = if ledger.sums().lost == 0 { QUIET } else { patience };
        if grown_at.elapsed() > quiet {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
}

/// The devices of the run, by stream.
fn streams(plan: &Plan) -> HashMap<StreamId, u32> {
    let stream = |device| {
        // Valid: the settings were checked.
        let user_id = UserId::parse(&plan.user_id(plan.user_of(device))).ok()?;
        let device_id = DeviceId::parse(&plan.device_id(device)).ok()?;
        let reference = DeviceRef { user_id: &user_id, device_id: &device_id };
        Some((device_stream(reference), device))
    };
    (0..plan.devices()).filter_map(stream).collect()
}

fn identity(event: &RawEvent) -> Result<Identity, Error> {
    serde_json::from_str(&event.data)
        .map_err(|source| Error::NotAReading { position: event.position, source })
}
