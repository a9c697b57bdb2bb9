//! Literal values of what this crate stores or shows and must survive every rename in the code:
//! names of projections and of their schemas, words in the rows. A value here never changes.

use std::fmt::Debug;

use eventsourcing::{Position, StreamId, Version};
use eventstore::RawEvent;
use uuid::Uuid;

use crate::by_name::Named;
use crate::projection::{Projection, project};
use crate::{Phase, State, names, rebuild};

#[test]
fn names_of_projections_and_of_their_schemas() {
    let names = names();
    for name in [
        "alerts",
        "documents",
        "host",
        "order_list",
        "page_views",
        "projects",
        "stock_level",
        "telemetry",
        "trace",
        "users",
        "works",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(crate::schema::comment::<crate::users::Users>(), "version 3");
    // First half of the key of the advisory lock that keeps a second rebuild out.
    assert_eq!(rebuild::LOCK, 0x7265_6266);
}

#[test]
fn words_for_states() {
    let words = ["live", "catching_up", "rebuilding", "stalled", "never_run", "waiting"];
    assert_eq!(State::ALL.map(State::word), words);
    assert_eq!(serde_json::to_string(&State::ALL).unwrap(), format!("{words:?}").replace(' ', ""));
    use Phase::{Comparing, Done, Filling, Indexing, Replacing, Waiting};
    let phases = [Waiting, Filling, Indexing, Comparing, Replacing, Done];
    assert_eq!(
        serde_json::to_string(&phases).unwrap(),
        r#"["waiting","filling","indexing","comparing","replacing","done"]"#
    );
}

/// Whether the word stands, as a text of its own, in what the golden event comes to.
fn writes<P: Projection<Changes: Debug>>(stream: &str, golden: &str, event_type: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let data = std::fs::read_to_string(format!("{root}/../domain/golden/{golden}.json")).unwrap();
    let event = RawEvent {
        position: Position(1),
        id: Uuid::nil(),
        stream: StreamId::parse(stream).unwrap(),
        version: Version(1),
        event_type: event_type.into(),
        schema_version: 1,
        data: data.trim().into(),
        metadata: "{}".into(),
        recorded_at: chrono::DateTime::UNIX_EPOCH,
    };
    let mut changes = P::Changes::default();
    project::<P>(&mut changes, &event).unwrap();
    format!("{changes:?}")
}

#[test]
fn words_in_rows() {
    let id = Uuid::from_u128(1);
    for (event_type, status) in [
        ("work_claimed", "Claimed"),
        ("work_started", "Started"),
        ("work_completed", "Completed"),
        ("work_failed", "Failed"),
        ("work_given_up", "GivenUp"),
    ] {
        let golden = format!("works/{event_type}.v1");
        let written = writes::<crate::works::Works>(&format!("work-{id}"), &golden, event_type);
        assert!(written.contains(&format!("status: {status},")), "{status}: {written}");
    }
    for (category, event_type, variant) in [
        ("order", "order_placed", "Placed"),
        ("order", "order_confirmed", "Confirmed"),
        ("order", "order_cancelled", "Cancelled"),
        ("order", "order_cancelled", "OutOfStock"),
        ("order", "order_shipped", "Shipped"),
        ("stock", "stock_reserved", "StockReserved"),
        ("stock", "stock_refused", "StockRefused"),
        ("stock", "stock_released", "StockReleased"),
        ("stock", "stock_shipped", "StockShipped"),
    ] {
        let (stream, golden) = (format!("{category}-{id}"), format!("orders/{event_type}.v1"));
        let written = writes::<crate::orders::OrderList>(&stream, &golden, event_type);
        assert!(written.contains(variant), "{variant}: {written}");
    }
    fn names<T: Named>() -> String {
        T::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(" ")
    }
    assert_eq!(names::<crate::orders::Status>(), "pending confirmed shipped cancelled");
    assert_eq!(names::<crate::orders::CancelReason>(), "out_of_stock requested expired");
    assert_eq!(
        names::<crate::orders::HistoryEvent>(),
        "placed stock_reserved stock_refused confirmed cancelled stock_released shipped stock_shipped"
    );
    assert_eq!(names::<crate::alerts::State>(), "active cleared");
    assert_eq!(
        names::<crate::works::Status>(),
        "demanded claimed started completed failed given_up"
    );
}
