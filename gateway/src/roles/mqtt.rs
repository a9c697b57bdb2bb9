//! The role `mqtt`: brings messages of devices into the log, and publishes alerts to devices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use domain::alerts::published::RULES;
use eventstore::{EventStore, consume};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Decoder, Publisher, listen};
use crate::config;
use crate::parts::Parts;
use ::mqtt::Options;

/// Interval between two searches for alert rules while subscriptions are shared.
const SEARCH_FOR_RULES: Duration = Duration::from_secs(5);

/// Runs the bridge and the alert publisher. Both wait for the broker.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = options(&parts.config.mqtt);
    let accounting =
        parts.bridge.context("the role mqtt was started without the bridge's counters")?;
    let mappings = parts.config.mqtt.topic_mappings.mqtt_topic_mappings.clone();
    let decoder = Decoder { limits: parts.config.readings.limits(), mappings };
    let exported = Arc::clone(&accounting);
    crate::metrics::collect(move || exported.export());
    let mut publisher = Publisher::new(options.clone()).await?;
    let group = parts.config.mqtt.group();
    let (store, backpressure) = (parts.store.clone(), parts.backpressure);
    tokio::try_join!(
        Bridge::run(options, decoder, store, accounting, backpressure, shutdown.clone()),
        consume::run(&mut publisher, &parts.store, &parts.feed, &shutdown).map(Ok),
        shutdown.run_until_cancelled(warn_of_lost_order(&parts.store, group)).map(|_| Ok(())),
    )?;
    Ok(())
}

/// Warns once there are alert rules while the subscriptions are shared by `group`: a reading that
/// another bridge appends after a newer one is late, and rules do not judge it.
async fn warn_of_lost_order(store: &EventStore, group: Option<&str>) {
    let Some(group) = group else { return };
    while !store.has_category(RULES).await.unwrap_or_default() {
        tokio::time::sleep(SEARCH_FOR_RULES).await;
    }
    tracing::warn!(
        group,
        "alert rules exist, and --mqtt-share loses the order of a device's readings: late readings \
         are not judged (tributary_alert_readings_late_total); give each bridge an --mqtt-filter of \
         its own instead",
    );
}

fn options(config: &config::Mqtt) -> Options {
    let options = Options {
        receive_maximum: config.mqtt_receive_maximum,
        session_expiry: config.mqtt_session_expiry.0,
        ..config.broker.options(&config.mqtt_client_id)
    };
    listen(options, &config.filters(), config.group(), &config.topic_mappings.mqtt_topic_mappings)
}
