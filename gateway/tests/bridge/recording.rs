//! What a message becomes.

use crate::servers::Directory;
use crate::system::{STATUS, System, TELEMETRY, readings};

#[tokio::test]
async fn readings_of_every_quality_of_service_are_stored_in_order() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    for qos in [0, 1, 2] {
        let first = i64::from(qos) * 10;
        system.publish(TELEMETRY, qos, readings(first..first + 3)).await;
        bridge.until(|books| books.appended == u64::from(qos + 1) * 3).await;
    }
    let books = bridge.accounting.snapshot();
    assert_eq!((books.received, books.qos0, books.in_flight), (9, 3, 0));
    let stored: Vec<_> = system.events().await;
    let sequence: Vec<_> = stored.iter().map(|(_, data)| data["sequence_id"].as_i64()).collect();
    assert_eq!(sequence, [0, 1, 2, 10, 11, 12, 20, 21, 22].map(Some));
    // Nobody waits for an acknowledgement of QoS 0; QoS 2 was brought down to 1 by the broker.
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 6).await;
}

#[tokio::test]
async fn the_same_reading_twice_is_stored_once() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    system.publish(TELEMETRY, 1, readings(0..6)).await;
    let books = bridge.until(|books| books.received == 11 && books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate), (6, 5));
    assert_eq!(system.events().await.len(), 6);
}

#[tokio::test]
async fn births_and_wills_are_presence() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let said =
        [true, true, false].map(|online| format!(r#"{{"online": {online}, "session_seq": 7}}"#));
    system.publish(STATUS, 1, said).await;
    let books = bridge.until(|books| books.received == 3 && books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate), (2, 1));
    let types: Vec<_> = system.events().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["device_connected", "device_disconnected"]);
}

#[tokio::test]
async fn what_cannot_be_understood_is_kept_with_the_reason_and_acknowledged() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    for (topic, payload) in [
        (TELEMETRY, "nonsense"),
        (TELEMETRY, r#"{"sequence_id": 1, "note": "a\u0000b"}"#),
        ("users/u/devices/no such/telemetry", "{}"),
        (STATUS, "offline"),
    ] {
        system.publish(topic, 1, [payload.to_owned()]).await;
    }
    let books = bridge.until(|books| books.received == 4 && books.in_flight == 0).await;
    assert_eq!(books.rejected, 4);
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 4).await;
    let events = system.events().await;
    for ((kind, data), reason) in
        events.iter().zip(["not a reading", "\\u0000", "letters, digits", "invalid device status"])
    {
        assert_eq!(kind, "message_rejected");
        assert!(data["reason"].as_str().unwrap().contains(reason), "{data}");
    }
    assert_eq!(events[1].1["payload"], r#"{"sequence_id": 1, "note": "a\u0000b"}"#);
}

#[tokio::test]
async fn a_topic_nobody_knows_is_refused_visibly() {
    let system = System::start().await;
    let mut options = system.options();
    options.topic_filters.push("elsewhere/#".into());
    let mut bridge = system.bridge_with(options);
    bridge.until(|books| books.connects == 1).await;
    system.publish("elsewhere/x", 1, ["hello".to_owned()]).await;
    bridge.until(|books| books.rejected == 1).await;
    let (_, data) = &system.events().await[0];
    assert_eq!((&data["topic"], &data["payload"]), (&"elsewhere/x".into(), &"hello".into()));
}

#[tokio::test]
async fn large_messages_are_refused_and_do_not_stop_the_next() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let directory = Directory::new();
    // More than a reading may have; more than a packet may have; and a good one behind them.
    for megabytes in [2, 9] {
        let file = directory.write("large", &"x".repeat(megabytes << 20));
        system.publish_file(TELEMETRY, &file).await;
    }
    system.publish(TELEMETRY, 1, readings(0..1)).await;
    let books = bridge.until(|books| books.received == 3 && books.in_flight == 0).await;
    assert_eq!((books.rejected, books.appended, books.connects), (2, 1, 1));
    let events = system.events().await;
    assert_eq!(events[0].1["size"], 2 << 20);
    assert_eq!(events[1].1["size"], 9 << 20);
    for (_, data) in &events[..2] {
        assert_eq!(data["payload"].as_str().unwrap().len(), 4096);
    }
}
