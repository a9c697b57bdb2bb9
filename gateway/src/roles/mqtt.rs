//! The role `mqtt`: brings messages of devices into the log, and publishes alerts to devices.

use std::sync::Arc;

use anyhow::Context;
use eventstore::consume;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Publisher, listen};
use crate::config;
use crate::parts::Parts;
use ::mqtt::Options;

/// Runs the bridge and the alert publisher. Both wait for the broker.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = options(&parts.config.mqtt);
    let accounting =
        parts.bridge.context("the role mqtt was started without the bridge's counters")?;
    let limits = parts.config.readings.limits();
    let exported = Arc::clone(&accounting);
    crate::metrics::collect(move || exported.export());
    let mut publisher = Publisher::new(options.clone()).await?;
    tokio::try_join!(
        Bridge::run(options, limits, parts.store.clone(), accounting, shutdown.clone()),
        consume::run(&mut publisher, &parts.store, &parts.feed, &shutdown).map(Ok),
    )?;
    Ok(())
}

fn options(config: &config::Mqtt) -> Options {
    let options = Options {
        receive_maximum: config.mqtt_receive_maximum,
        session_expiry: config.mqtt_session_expiry.0,
        ..config.broker.options(&config.mqtt_client_id)
    };
    listen(options, &config.filters(), config.group())
}
