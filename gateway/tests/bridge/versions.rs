//! The same guarantees in MQTT 3.1.1, which has neither Receive Maximum nor reason codes.

use devservers::mosquitto;
use gateway::bridge::State;
use mqtt::{Options, Version};

use crate::system::{System, TELEMETRY, readings};

fn in_3_1_1(system: &System) -> Options {
    let mut options = system.options();
    options.version = Some(Version::V3);
    options
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_commit_and_then_all() {
    let system = System::start().await;
    let mut bridge = system.bridge_with(in_3_1_1(&system));
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    bridge.until(|counters| counters.in_flight == 21).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    lock.release().await;
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 21).await;
    // Mosquitto uses packet ids from 1 in a session.
    assert_eq!(system.proxy.acknowledged(1), (1..=21).collect::<Vec<u16>>());
    let counters = bridge.until(|counters| counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.rejected), (20, 1));
}

#[tokio::test]
async fn messages_above_the_receive_maximum_wait_in_the_socket() {
    let system = System::start().await;
    let mut options = in_3_1_1(&system);
    options.receive_maximum = 10;
    let mut bridge = system.bridge_with(options);
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    // In 3.1.1 the broker knows no limit and sends everything at once.
    system.publish(TELEMETRY, 1, readings(0..5_000)).await;
    bridge.until(|counters| counters.received == 10).await;
    lock.release().await;
    let mut peak = 0;
    let counters = bridge
        .until(|counters| {
            peak = peak.max(counters.in_flight);
            counters.appended == 5_000
        })
        .await;
    assert!(peak <= 10, "{peak} at a time");
    assert_eq!((counters.connects, counters.duplicate), (1, 0));
}

#[tokio::test]
async fn after_a_reconnect_the_session_continues_and_messages_are_redelivered() {
    let system = System::start().await;
    let mut bridge = system.bridge_with(in_3_1_1(&system));
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|counters| counters.received == 5).await;
    system.proxy.cut();
    bridge.until(|counters| counters.connects == 2 && counters.received == 10).await;
    lock.release().await;
    let counters = bridge.until(|counters| counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate, counters.rejected), (5, 5, 0));
    bridge.stop().await.unwrap();

    // Messages published meanwhile, received with MQTT 5.
    system.publish(TELEMETRY, 1, readings(5..10)).await;
    let mut bridge = system.bridge_with(system.options());
    // Messages of a resumed session arrive before the SUBACK, after which the state is Connected.
    let counters =
        bridge.until(|counters| counters.appended == 5 && counters.state == State::Connected).await;
    assert_eq!(counters.received, 5);
}

#[tokio::test]
async fn wrong_credentials_are_counted_in_3_1_1() {
    let options = mosquitto::Options { anonymous: false, ..mosquitto::Options::default() };
    let system = System::start_with(options).await;
    let mut bridge = system.bridge_with(in_3_1_1(&system));
    let counters = bridge.until(|counters| counters.state == State::Refused).await;
    assert_eq!((counters.refused, counters.refusals[0]), (1, 1));
    let trouble = bridge.accounting.trouble().unwrap();
    assert!(trouble.contains("NotAuthorized"), "{trouble}");
}
