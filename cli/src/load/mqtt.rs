//! Devices on MQTT: a connection each, at service level 1. Each also listens to its alerts, as a
//! real one would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::task::TaskTracker;

use super::Controls;
use super::device::Device;
use super::plan::Plan;
use super::queue::Sent;
use crate::outcome::Failure;
use gateway::config::Broker;
use mqtt::{Connection, Dialer, Options};

/// Connections made at the same time.
const CONNECTING: usize = 32;
/// A device without anything to send says that it lives twice in this time.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Most bytes of a packet that a device takes: alerts and acknowledgements.
const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// Alerts that the broker may have sent and a device not yet acknowledged.
const RECEIVE_MAXIMUM: u16 = 16;

/// Sends what is planned; returns when everything is acknowledged, or nothing more will be.
pub(super) async fn run(
    plan: Arc<Plan>,
    broker: Broker,
    controls: Controls,
) -> Result<Vec<Sent>, Failure> {
    let devices = connect(&plan, &broker).await?;
    let start = controls.tally.start();
    let tasks = TaskTracker::new();
    let running = (0..).zip(devices).map(|(index, (dialer, connection))| {
        let device = Device::new(Arc::clone(&plan), index, start, controls.clone());
        tasks.spawn(device.run(dialer, connection))
    });
    let mut sent = Vec::new();
    for device in running.collect::<Vec<_>>() {
        sent.push(device.await.context("a device")?);
    }
    Ok(sent)
}

/// Every device's first connection: a broker that is not there, or does not want one of them, is
/// known before anything is sent.
async fn connect(plan: &Plan, broker: &Broker) -> Result<Vec<(Dialer, Connection)>, Failure> {
    let connecting = (0..plan.devices()).map(async |device| {
        let dialer = Dialer::new(options(plan, broker, device)).await.context("the broker")?;
        let connection = dialer.connect().await.map_err(|lost| {
            let where_to = format!("the broker, {}", broker.mqtt_url);
            Failure::not_reachable(anyhow::Error::from(lost).context(where_to))
        })?;
        Ok((dialer, connection))
    });
    stream::iter(connecting).buffered(CONNECTING).try_collect().await
}

fn options(plan: &Plan, broker: &Broker, device: u32) -> Options {
    let (user_id, device_id) = (plan.user_id(plan.user_of(device)), plan.device_id(device));
    Options {
        topic_filters: vec![format!("users/{user_id}/devices/{device_id}/alerts")],
        receive_maximum: RECEIVE_MAXIMUM,
        keep_alive: KEEP_ALIVE,
        // What was not acknowledged is sent again by us, not by a session.
        session_expiry: Duration::ZERO,
        max_packet_bytes: MAX_PACKET_BYTES,
        ..broker.options(&format!("{user_id}-{device_id}"))
    }
}
