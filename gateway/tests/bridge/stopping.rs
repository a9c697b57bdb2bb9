//! Shutting down: finish what was taken, acknowledge it, say goodbye; within ten seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::bridge::State;
use rumqttc::DisconnectReasonCode;

use crate::proxy::Seen;
use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn what_was_taken_is_finished_and_acknowledged_before_the_goodbye() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    bridge.until(|books| books.in_flight == 20).await;
    let accounting = Arc::clone(&bridge.accounting);
    bridge.shutdown.cancel();
    stall.end().await;
    bridge.stop().await.unwrap();
    let books = accounting.snapshot();
    assert_eq!((books.appended, books.in_flight, books.state), (20, 0, State::Stopped));
    let goodbye = Seen::Disconnect(DisconnectReasonCode::NormalDisconnection);
    system.proxy.until(|proxy| proxy.seen(1).contains(&goodbye)).await;
    assert_eq!(system.proxy.acknowledged(1).len(), 20);
    assert_eq!(system.proxy.seen(1).last(), Some(&goodbye));
}

#[tokio::test]
async fn no_acknowledgement_is_lost_while_the_broker_still_sends() {
    let system = System::start().await;
    // Without the proxy: what matters is how our own socket is closed.
    let mut options = system.options();
    options.url = format!("mqtt://127.0.0.1:{}", system.mosquitto.port);
    options.receive_maximum = 10;
    let mut bridge = system.bridge_with(options.clone());
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..2000)).await;
    bridge.until(|books| books.in_flight == 10).await;
    let first = Arc::clone(&bridge.accounting);
    stall.end().await;
    bridge.until(|books| books.appended > 100).await;
    bridge.stop().await.unwrap();
    let taken = first.snapshot().appended;

    let mut bridge = system.bridge_with(options);
    let books = bridge.until(|books| books.received == 2000 - taken && books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate), (2000 - taken, 0));
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_not_waited_for_and_nothing_is_lost() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    bridge.until(|books| books.in_flight == 20).await;
    let started = Instant::now();
    bridge.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    stall.end().await;

    let mut bridge = system.bridge_with(system.options());
    let books = bridge.until(|books| books.received == 20 && books.in_flight == 0).await;
    assert_eq!(books.appended + books.duplicate, 20);
    assert_eq!(system.events().await.len(), 20);
}

#[tokio::test]
async fn without_a_broker_it_stops_at_once() {
    let mut system = System::start().await;
    system.mosquitto.stop();
    let mut bridge = system.bridge_with(system.options());
    bridge.until(|books| books.state == State::Unreachable).await;
    let started = Instant::now();
    bridge.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}
