//! Literal values of what this crate stores and must survive every rename in the code: names of
//! consumers, idempotency keys, metadata of events. A value here never changes.

use eventsourcing::{Metadata, Position, Recorded, StreamId, Version};
use uuid::Uuid;

use crate::orders::Fulfilment;
use crate::process::{Process, following};
use crate::{PROCESS_MANAGERS, alerts};

#[test]
fn names_of_consumers() {
    for name in ["alert_watch", "fulfilment", "order_deadlines"] {
        assert!(PROCESS_MANAGERS.contains(&name), "{name}");
    }
    assert_eq!((alerts::Watcher::NAME, Fulfilment::NAME), ("alert_watch", "fulfilment"));
}

#[test]
fn receipt_and_metadata_of_a_command_that_follows_from_an_event() {
    let id = Uuid::from_u128;
    let event = Recorded {
        position: Position(42),
        id: id(7),
        stream: StreamId::parse("order-1").unwrap(),
        version: Version(1),
        recorded_at: chrono::DateTime::UNIX_EPOCH,
        metadata: Metadata {
            correlation_id: Some(id(5)),
            causation_id: Some(id(6)),
            actor: Some("ada".into()),
            traceparent: Some("00-1-2-01".into()),
        },
        event: (),
    };
    let target = StreamId::parse("stock-2").unwrap();
    let envelope = following(Fulfilment::NAME, &event, &target, "ship 1");
    let receipt = envelope.receipt.unwrap();
    assert_eq!(receipt.key, "fulfilment 00000000-0000-0000-0000-000000000007 stock-2");
    assert_eq!(&*receipt.response, "null");
    let fingerprint =
        eventstore::NewReceipt::new(String::new(), b"ship 1", Box::default()).fingerprint;
    assert_eq!(receipt.fingerprint, fingerprint);
    assert_eq!(
        envelope.metadata,
        Metadata {
            correlation_id: Some(id(5)),
            causation_id: Some(id(7)),
            actor: Some("fulfilment".into()),
            traceparent: Some("00-1-2-01".into()),
        }
    );
}
