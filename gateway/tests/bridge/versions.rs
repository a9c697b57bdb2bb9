//! The same promises in MQTT 3.1.1, which has neither Receive Maximum nor reasons.

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
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..20)).await;
    system.publish(TELEMETRY, 1, ["nonsense".to_owned()]).await;
    bridge.until(|books| books.in_flight == 21).await;
    assert_eq!(system.proxy.acknowledged(1), [0u16; 0]);
    stall.end().await;
    system.proxy.until(|proxy| proxy.acknowledged(1).len() == 21).await;
    // Mosquitto numbers what it sends in a session, from 1.
    assert_eq!(system.proxy.acknowledged(1), (1..=21).collect::<Vec<u16>>());
    let books = bridge.until(|books| books.in_flight == 0).await;
    assert_eq!((books.appended, books.rejected), (20, 1));
}

#[tokio::test]
async fn what_the_broker_sends_too_early_waits_in_the_socket() {
    let system = System::start().await;
    let mut options = in_3_1_1(&system);
    options.receive_maximum = 10;
    let mut bridge = system.bridge_with(options);
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    // The broker has been told of no limit, and sends all of it at once.
    system.publish(TELEMETRY, 1, readings(0..5_000)).await;
    bridge.until(|books| books.received == 10).await;
    stall.end().await;
    let mut peak = 0;
    let books = bridge
        .until(|books| {
            peak = peak.max(books.in_flight);
            books.appended == 5_000
        })
        .await;
    assert!(peak <= 10, "{peak} at a time");
    assert_eq!((books.connects, books.duplicate), (1, 0));
}

#[tokio::test]
async fn after_a_reconnect_the_session_goes_on_and_messages_come_again() {
    let system = System::start().await;
    let mut bridge = system.bridge_with(in_3_1_1(&system));
    bridge.until(|books| books.connects == 1).await;
    let stall = system.stall().await;
    system.publish(TELEMETRY, 1, readings(0..5)).await;
    bridge.until(|books| books.received == 5).await;
    system.proxy.cut();
    bridge.until(|books| books.connects == 2 && books.received == 10).await;
    stall.end().await;
    let books = bridge.until(|books| books.in_flight == 0).await;
    assert_eq!((books.appended, books.duplicate, books.rejected), (5, 5, 0));
    bridge.stop().await.unwrap();

    // What comes while it is away, and in the other version than before.
    system.publish(TELEMETRY, 1, readings(5..10)).await;
    let mut bridge = system.bridge_with(system.options());
    // A resumed session's messages come before the answer to SUBSCRIBE, which makes it connected.
    let books = bridge.until(|books| books.appended == 5 && books.state == State::Connected).await;
    assert_eq!(books.received, 5);
}

#[tokio::test]
async fn wrong_credentials_are_told_apart_in_3_1_1_too() {
    use crate::servers::{Directory, Mosquitto};
    let settings = "allow_anonymous false";
    let system = System::start_with(Mosquitto::start_with(Directory::new(), settings)).await;
    let mut bridge = system.bridge_with(in_3_1_1(&system));
    let books = bridge.until(|books| books.state == State::Refused).await;
    assert_eq!((books.refused, books.refusals[0]), (1, 1));
    let trouble = bridge.accounting.trouble().unwrap();
    assert!(trouble.contains("NotAuthorized"), "{trouble}");
}
