//! When a message is acknowledged, and what bounds those that are not.

use gateway::bridge::HELD_BYTES;

use crate::system::{System, TELEMETRY, readings};

#[tokio::test]
async fn nothing_is_acknowledged_before_the_commit_and_then_all_in_order() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    // Rejected at once, but not acknowledged before those in front of it.
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    bridge.until(|books| books.in_flight == 21).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    stall.end().await;
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
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..50)).await;
    bridge.until(|books| books.received == 10).await;
    // QoS 0 is not held back: when it is here, everything the broker may send has been sent.
    system.publish(TELEMETRY, 0, readings(100..101)).await;
    let books = bridge.until(|books| books.qos0 == 1).await;
    assert_eq!((books.received, books.in_flight), (11, 11));
    stall.end().await;
    // From its first PUBACK on this broker sends all it has; that is for us to hold back.
    let mut peak = 0;
    let books = bridge
        .until(|books| {
            peak = peak.max(books.in_flight);
            books.appended == 51
        })
        .await;
    assert_eq!((books.in_flight, books.connects), (0, 1));
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
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    let (count, size) = (1_000, 60_000);
    let filler = "x".repeat(size);
    let large = (0..count).map(|n| format!(r#"{{"sequence_id": {n}, "filler": "{filler}"}}"#));
    system.publish(TELEMETRY, 1, large).await;
    let most = u64::try_from(HELD_BYTES / (2 * size)).unwrap();
    bridge.until(|books| books.in_flight > most * 9 / 10).await;
    stall.end().await;
    let mut peak = 0;
    bridge
        .until(|books| {
            peak = peak.max(books.in_flight);
            books.appended == count
        })
        .await;
    assert!(peak <= most, "{peak} of {most} at a time");
}

#[tokio::test]
async fn after_a_reconnect_old_acknowledgements_are_forgotten_and_messages_come_again() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|books| books.received == 5).await;
    system.proxy.cut();
    // The broker knows they were not acknowledged; the appends of before still wait.
    bridge.until(|books| books.connects == 2 && books.received == 10).await;
    stall.end().await;
    let books = bridge.until(|books| books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate, books.rejected), (5, 5, 0));
    system.proxy.until(|proxy| proxy.acknowledged(2).len() == 5).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    assert_eq!(system.proxy.acknowledged(2), system.proxy.published(2));
    assert_eq!(system.events().await.len(), 5);
}

#[tokio::test]
async fn while_the_log_is_away_messages_wait_and_none_is_lost_or_refused() {
    let mut system = System::start().await;
    let mut bridge = system.bridge().await;
    system.postgres.stop();
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    let books = bridge.until(|books| books.retries > 20 && books.received == 21).await;
    assert_eq!(books.in_flight, 21);
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    system.postgres.start_again();
    let books = bridge.until(|books| books.in_flight == 0).await;
    assert_eq!((books.appended, books.rejected, books.connects), (20, 1, 1));
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 21).await;
    assert_eq!(system.proxy.acknowledged(1), system.proxy.published(1));
}
