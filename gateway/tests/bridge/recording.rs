//! The events that messages become.

use devservers::{mosquitto, testing};

use crate::system::{STATUS, System, TELEMETRY, readings};

#[tokio::test]
async fn readings_of_every_quality_of_service_are_stored_in_order() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    for qos in [0, 1, 2] {
        let first = i64::from(qos) * 10;
        system.publish(TELEMETRY, qos, readings(first..first + 3)).await;
        bridge.until(|counters| counters.appended == u64::from(qos + 1) * 3).await;
    }
    let counters = bridge.accounting.snapshot();
    assert_eq!((counters.received, counters.qos0, counters.in_flight), (9, 3, 0));
    let stored: Vec<_> = system.events().await;
    let sequence: Vec<_> = stored.iter().map(|(_, data)| data["sequence_id"].as_i64()).collect();
    assert_eq!(sequence, [0, 1, 2, 10, 11, 12, 20, 21, 22].map(Some));
    // QoS 0 has no acknowledgement. The broker delivers QoS 2 as QoS 1, which the bridge subscribed
    // with.
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 6).await;
}

#[tokio::test]
async fn the_same_reading_twice_is_stored_once() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    system.publish(TELEMETRY, 1, readings(0..6)).await;
    let counters =
        bridge.until(|counters| counters.received == 11 && counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate), (6, 5));
    assert_eq!(system.events().await.len(), 6);
}

#[tokio::test]
async fn births_and_wills_become_connection_events() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let statuses =
        [true, true, false].map(|online| format!(r#"{{"online": {online}, "session_seq": 7}}"#));
    system.publish(STATUS, 1, statuses).await;
    let counters = bridge.until(|counters| counters.received == 3 && counters.in_flight == 0).await;
    // The broker does not mark the second birth as delivered before: a counter may have wrapped.
    assert_eq!((counters.appended, counters.duplicate), (3, 0));
    let types: Vec<_> = system.events().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["device_connected", "device_connected", "device_disconnected"]);
}

#[tokio::test]
async fn an_invalid_message_is_recorded_with_the_reason_and_acknowledged() {
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
    let counters = bridge.until(|counters| counters.received == 4 && counters.in_flight == 0).await;
    assert_eq!(counters.rejected, 4);
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
async fn a_message_on_an_unknown_topic_is_recorded_as_rejected() {
    let system = System::start().await;
    let mut options = system.options();
    options.topic_filters.push("elsewhere/#".into());
    let mut bridge = system.bridge_with(options);
    bridge.until(|counters| counters.connects == 1).await;
    system.publish("elsewhere/x", 1, ["hello".to_owned()]).await;
    bridge.until(|counters| counters.rejected == 1).await;
    let (_, data) = &system.events().await[0];
    assert_eq!((&data["topic"], &data["payload"]), (&"elsewhere/x".into(), &"hello".into()));
}

#[tokio::test]
async fn large_messages_are_rejected_and_do_not_stop_the_next() {
    // Overrides the 4 MiB of the settings that operators use.
    let more = "max_packet_size 20000000\n".to_owned();
    let options = mosquitto::Options { more, ..mosquitto::Options::default() };
    let system = System::start_with(options).await;
    let mut bridge = system.bridge().await;
    let file = testing::directory("large").unwrap().join("message");
    // One is larger than a reading may be, the other than a packet may be. A valid one follows.
    for megabytes in [2, 9] {
        std::fs::write(&file, "x".repeat(megabytes << 20)).unwrap();
        system.publish_file(TELEMETRY, &file).await;
    }
    system.publish(TELEMETRY, 1, readings(0..1)).await;
    let counters = bridge.until(|counters| counters.received == 3 && counters.in_flight == 0).await;
    assert_eq!((counters.rejected, counters.appended, counters.connects), (2, 1, 1));
    let events = system.events().await;
    assert_eq!(events[0].1["size"], 2 << 20);
    assert_eq!(events[1].1["size"], 9 << 20);
    for (_, data) in &events[..2] {
        assert_eq!(data["payload"].as_str().unwrap().len(), 4096);
    }
}
