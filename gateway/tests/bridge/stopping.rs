//! Shutdown: the bridge finishes received messages, acknowledges them and disconnects, within 10 s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::bridge::State;
use rumqttc::DisconnectReasonCode;

use crate::proxy::Seen;
use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn received_messages_are_appended_and_acknowledged_before_the_disconnect() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    bridge.until(|counters| counters.in_flight == 20).await;
    let accounting = Arc::clone(&bridge.accounting);
    bridge.shutdown.cancel();
    lock.release().await;
    bridge.stop().await.unwrap();
    let counters = accounting.snapshot();
    assert_eq!((counters.appended, counters.in_flight, counters.state), (20, 0, State::Stopped));
    let disconnect = Seen::Disconnect(DisconnectReasonCode::NormalDisconnection);
    system.proxy.until(|proxy| proxy.seen(1).contains(&disconnect)).await;
    assert_eq!(system.proxy.acknowledged(1).len(), 20);
    assert_eq!(system.proxy.seen(1).last(), Some(&disconnect));
}

#[tokio::test]
async fn no_acknowledgement_is_lost_while_the_broker_still_sends() {
    let system = System::start().await;
    // Without the proxy, because the test is about how the bridge closes its own socket.
    let mut options = system.options();
    options.url = format!("mqtt://127.0.0.1:{}", system.mosquitto.port());
    options.receive_maximum = 10;
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..2000)).await;
    bridge.until(|counters| counters.in_flight == 10).await;
    let first = Arc::clone(&bridge.accounting);
    lock.release().await;
    bridge.until(|counters| counters.appended > 100).await;
    bridge.stop().await.unwrap();
    let taken = first.snapshot().appended;

    let mut bridge = system.bridge_with(options);
    let counters =
        bridge.until(|counters| counters.received == 2000 - taken && counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate), (2000 - taken, 0));
}

#[tokio::test]
async fn a_blocked_log_does_not_delay_the_shutdown_and_nothing_is_lost() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    bridge.until(|counters| counters.in_flight == 20).await;
    let started = Instant::now();
    bridge.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    lock.release().await;

    let mut bridge = system.bridge_with(system.options());
    let counters =
        bridge.until(|counters| counters.received == 20 && counters.in_flight == 0).await;
    assert_eq!(counters.appended + counters.duplicate, 20);
    assert_eq!(system.events().await.len(), 20);
}

#[tokio::test]
async fn a_disconnected_bridge_stops_at_once() {
    let mut system = System::start().await;
    system.mosquitto.stop().await;
    let mut bridge = system.bridge_with(system.options());
    bridge.until(|counters| counters.state == State::Unreachable).await;
    let started = Instant::now();
    bridge.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
}
