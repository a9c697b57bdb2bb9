//! What the log holds of a run: every reading of its devices, from the position on that was the last
//! before the first message.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use domain::telemetry::{DEVICE, DeviceId, DeviceRef, UserId, device_stream};
use eventsourcing::{Position, StreamId};
use eventstore::{EventStore, Filter, RawEvent, Unavailable};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use super::plan::Plan;
use crate::outcome::Failure;

/// Events read at once.
const PAGE: usize = 10_000;
/// How long nothing of ours may come before the log is taken to stand still: a message delivered
/// again would be written at once.
const STILL: Duration = Duration::from_secs(1);
/// Between two looks at the head.
const LOOK: Duration = Duration::from_millis(100);

/// What identifies a reading, of its data.
#[derive(Deserialize)]
struct Identity {
    sequence_id: i64,
    #[serde(default)]
    boot_id: String,
}

/// Writes into the ledger what was stored after `from`, until everything acknowledged is there and
/// nothing more comes, or until nothing has come for `patience`.
pub(super) async fn read(
    store: &EventStore,
    plan: &Plan,
    from: Position,
    ledger: &mut Ledger,
    patience: Duration,
) -> Result<(), Failure> {
    let devices = streams(plan)?;
    let boot = plan.boot.as_simple().to_string();
    let filter = Filter {
        categories: vec![DEVICE.to_owned()],
        event_types: vec!["reading_recorded".to_owned()],
        stream: None,
    };
    let (mut at, mut grown_at) = (from, Instant::now());
    loop {
        let head = store.head().await.map_err(unavailable)?;
        while at < head {
            let page = store.read(at, head, &filter, PAGE).await.map_err(unavailable)?;
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
        let quiet = if ledger.sums().lost == 0 { STILL } else { patience };
        if grown_at.elapsed() > quiet {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// The devices of the run by their streams.
fn streams(plan: &Plan) -> anyhow::Result<HashMap<StreamId, u32>> {
    let stream = |device| {
        let user_id = UserId::parse(&plan.user_id(plan.user_of(device)))?;
        let device_id = DeviceId::parse(&plan.device_id(device))?;
        let reference = DeviceRef { user_id: &user_id, device_id: &device_id };
        Ok((device_stream(reference), device))
    };
    (0..plan.devices()).map(stream).collect()
}

fn identity(event: &RawEvent) -> anyhow::Result<Identity> {
    serde_json::from_str(&event.data)
        .with_context(|| format!("the event at {} is not a reading", event.position))
}

fn unavailable(Unavailable(error): Unavailable) -> Failure {
    error.into()
}
