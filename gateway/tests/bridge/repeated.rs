//! Messages that the broker delivers again, or sends because the bridge subscribes.

use std::pin::pin;

use domain::alerts::{Config, RulesEvent, Scope, rules_stream};
use eventstore::{Append, ExpectedVersion, NewEvent};
use futures::poll;
use mqtt::Options;

use crate::system::{Running, STATUS, System};

const CONFIG: &str = "users/u/config";

/// The request of a `PUT` of other rules.
fn put(max: f64) -> Append {
    let scope = Scope::User("u".into());
    let config = Config { temperature_max: Some(max), rules: Vec::new() };
    let event = NewEvent::new(&RulesEvent::configured(&scope, config)).unwrap();
    Append::to(rules_stream(&scope), ExpectedVersion::Any, vec![event])
}

/// A bridge with another session.
fn another(system: &System) -> Running {
    system.bridge_with(Options { client_id: "another".to_owned(), ..system.options() })
}

async fn maxima(system: &System) -> Vec<f64> {
    let events = system.events().await;
    events.iter().map(|(_, data)| data["temperature_max"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn redelivered_rules_do_not_undo_a_newer_put() {
    let system = System::start().await;
    let mut bridge = system.bridge().await;
    let lock = system.lock_head().await;
    system.publish(CONFIG, 1, [r#"{"temperature_max": 80}"#.to_owned()]).await;
    bridge.until(|counters| counters.in_flight == 1).await;
    let mut newer = pin!(system.store.append(put(60.0)));
    assert!(poll!(&mut newer).is_pending(), "it waits behind the message");
    system.proxy.cut();
    bridge.until(|counters| counters.received == 2).await;
    lock.release().await;
    newer.await.unwrap();
    let counters = bridge.until(|counters| counters.in_flight == 0).await;
    assert_eq!((counters.appended, counters.duplicate, counters.rejected), (1, 1, 0));
    assert_eq!(maxima(&system).await, [80.0, 60.0]);

    // A new message sets the same rules again.
    system.publish(CONFIG, 1, [r#"{"temperature_max": 80}"#.to_owned()]).await;
    bridge.until(|counters| counters.appended == 2).await;
    assert_eq!(maxima(&system).await, [80.0, 60.0, 80.0]);
}

#[tokio::test]
async fn retained_rules_are_those_of_a_user_who_has_none_and_never_replace_others() {
    let system = System::start().await;
    system.publish_retained(CONFIG, r#"{"temperature_max": 80}"#).await;
    let mut bridge = system.bridge().await;
    bridge.until(|counters| counters.appended == 1).await;
    system.store.append(put(60.0)).await.unwrap();
    bridge.stop().await.unwrap();
    // The broker sends the retained message with a new subscription.
    let mut bridge = another(&system);
    let counters = bridge.until(|counters| counters.duplicate == 1).await;
    assert_eq!((counters.received, counters.appended, counters.rejected), (1, 0, 0));
    // Cleared: the broker forwards the empty payload to the bridge.
    system.publish_retained(CONFIG, "").await;
    let counters = bridge.until(|counters| counters.duplicate == 2).await;
    assert_eq!((counters.appended, counters.rejected, counters.in_flight), (0, 0, 0));
    assert_eq!(maxima(&system).await, [80.0, 60.0]);
}

#[tokio::test]
async fn a_birth_is_recorded_again_when_it_is_published_again_and_not_when_it_is_delivered_again() {
    let system = System::start().await;
    let birth = r#"{"online": true, "session_seq": 0}"#;
    system.publish_retained(STATUS, birth).await;
    let mut bridge = system.bridge().await;
    bridge.until(|counters| counters.appended == 1).await;
    bridge.stop().await.unwrap();
    let mut bridge = another(&system);
    bridge.until(|counters| counters.duplicate == 1).await;
    // The counter has wrapped.
    system.publish(STATUS, 1, [birth.to_owned()]).await;
    let counters = bridge.until(|counters| counters.appended == 1).await;
    assert_eq!((counters.duplicate, counters.rejected, counters.in_flight), (1, 0, 0));
}
