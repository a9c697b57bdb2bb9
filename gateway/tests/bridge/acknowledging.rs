//! When a message is acknowledged, and the limits of unacknowledged messages.

use devservers::{mosquitto, testing};
use gateway::bridge::HELD_BYTES;

use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn nothing_is_acknowledged_before_the_commit_and_then_all_in_order() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    // Rejected at once, but not acknowledged before those in front of it.
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    bridge.until(|counters| counters.in_flight == 21).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    lock.release().await;
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 21).await;
    assert_eq!(system.proxy.acknowledged(1), system.proxy.published(1));
    assert_eq!(system.events().await.len(), 21);
}

#[tokio::test]
async fn no_more_than_the_receive_maximum_is_ever_in_flight() {
    let system = System::start().await;
    let mut options = system.options();
    options.receive_maximum = 10;
    let mut bridge = system.bridge_with(options);
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..50)).await;
    bridge.until(|counters| counters.received == 10).await;
    // Receive Maximum does not limit QoS 0: once this message has arrived, the broker has sent all
    // it may.
    system.publish(TELEMETRY, 0, readings(100..101)).await;
    let counters = bridge.until(|counters| counters.qos0 == 1).await;
    assert_eq!((counters.received, counters.in_flight), (11, 11));
    lock.release().await;
    // After the first PUBACK this broker sends all it has, so the bridge itself must limit it.
    let mut peak = 0;
    let counters = bridge
        .until(|counters| {
            peak = peak.max(counters.in_flight);
            counters.appended == 51
        })
        .await;
    assert_eq!((counters.in_flight, counters.connects), (0, 1));
    assert!(peak <= 11, "{peak} at a time");
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 50).await;
    assert_eq!(system.proxy.acknowledged(1), system.proxy.published(1));
}

#[tokio::test]
async fn memory_is_bounded_by_bytes_whatever_the_receive_maximum() {
    let system = System::start().await;
    let mut options = system.options();
    options.receive_maximum = u16::MAX;
    let mut bridge = system.bridge_with(options);
    bridge.until(|counters| counters.connects == 1).await;
    let lock = system.lock_head().await;
    let (count, size) = (1_000, 60_000);
    let filler = "x".repeat(size);
    let large = (0..count).map(|n| format!(r#"{{"sequence_id": {n}, "filler": "{filler}"}}"#));
    system.publish(TELEMETRY, 1, large).await;
    let most = u64::try_from(HELD_BYTES / (2 * size)).unwrap();
    bridge.until(|counters| counters.in_flight > most * 9 / 10).await;
    lock.release().await;
    let mut peak = 0;
    bridge
        .until(|counters| {
            peak = peak.max(counters.in_flight);
            counters.appended == count
        })
        .await;
    assert!(peak <= most, "{peak} of {most} at a time");
}

#[tokio::test]
async fn after_a_reconnect_old_acknowledgements_are_dropped_and_messages_are_redelivered() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|counters| counters.received == 5).await;
    system.proxy.cut();
    // The broker redelivers them; the appends of the first connection still wait.
    bridge.until(|counters| counters.connects == 2 && counters.received == 10).await;
    lock.release().await;
    let counters = bridge.until(|counters| counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate, counters.rejected), (5, 5, 0));
    system.proxy.until(|proxy| proxy.acknowledged(2).len() == 5).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    assert_eq!(system.proxy.acknowledged(2), system.proxy.published(2));
    assert_eq!(system.events().await.len(), 5);
}

#[tokio::test]
async fn while_postgres_is_down_messages_wait_and_none_is_lost_or_rejected() {
    let mut postgres = testing::start_postgres().await.unwrap();
    let system = System::start_on(&postgres, mosquitto::Options::default()).await;
    let mut bridge = system.bridge().await;
    postgres.kill().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    let counters = bridge.until(|counters| counters.retries > 20 && counters.received == 21).await;
    assert_eq!(counters.in_flight, 21);
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    postgres.restart().await.unwrap();
    let counters = bridge.until(|counters| counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.rejected, counters.connects), (20, 1, 1));
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 21).await;
    assert_eq!(system.proxy.acknowledged(1), system.proxy.published(1));
}
