//! Sends over MQTT: a connection for each device, at `QoS` 1. Each also subscribes to its alerts, as a
//! real device does.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::task::TaskTracker;

use super::connection;
use super::controls::Controls;
use super::device::Device;
use super::error::Error;
use super::plan::Plan;
use super::queue::Sent;
use mqtt::{Client, Dialer, Options};

/// Connections made concurrently.
const CONNECTING: usize = 32;
/// Keep-alive of a device.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Most bytes held of a received packet: alerts.
const MAX_PACKET_BYTES: u32 = 64 * 1024;
/// Alerts that the broker may have sent and a device not yet acknowledged.
const RECEIVE_MAXIMUM: u16 = 16;
/// Messages a device may have published and the broker not yet acknowledged.
const PUBLISH_WINDOW: u16 = 1000;

/// Sends the plan. Returns when everything is acknowledged or given up.
pub(crate) async fn run(
    plan: Arc<Plan>,
    broker: Options,
    controls: Controls,
) -> Result<Vec<Sent>, Error> {
    let devices = connect(&plan, &broker).await?;
    let start = controls.stats.start();
    let tasks = TaskTracker::new();
    #[expect(clippy::disallowed_methods, reason = "every handle is awaited")]
    let running = (0..).zip(devices).map(|(index, (dialer, client))| {
        let device = Device::new(Arc::clone(&plan), index, start, controls.clone());
        tasks.spawn(connection::run(device, dialer, client))
    });
    let mut sent = Vec::new();
    for device in running.collect::<Vec<_>>() {
        sent.push(device.await?);
    }
    Ok(sent)
}

/// Makes every device's first connection: an unreachable broker, or one that refuses a device, is an
/// error before anything is sent.
async fn connect(plan: &Plan, broker: &Options) -> Result<Vec<(Dialer, Client<u32>)>, Error> {
    let connecting = (0..plan.devices()).map(async |device| {
        let dialer = Dialer::new(options(plan, broker, device)).await?;
        let client = dialer.connect().await?;
        Ok((dialer, client))
    });
    stream::iter(connecting).buffered(CONNECTING).try_collect().await
}

fn options(plan: &Plan, broker: &Options, device: u32) -> Options {
    let (user_id, device_id) = (plan.user_id(plan.user_of(device)), plan.device_id(device));
    Options {
        topic_filters: vec![format!("users/{user_id}/devices/{device_id}/alerts")],
        receive_maximum: RECEIVE_MAXIMUM,
        publish_window: PUBLISH_WINDOW,
        keep_alive: KEEP_ALIVE,
        // A device sends unacknowledged messages again itself, without a session.
        session_expiry: Duration::ZERO,
        max_packet_bytes: MAX_PACKET_BYTES,
        client_id: format!("{user_id}-{device_id}"),
        ..broker.clone()
    }
}
