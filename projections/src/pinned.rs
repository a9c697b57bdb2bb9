//! Literal values of what this crate stores or shows and must survive every rename in the code:
//! names of projections and of their schemas, words in the rows. A value here never changes.

use std::fmt::Debug;

use eventsourcing::{Position, StreamId, Version};
use eventstore::RawEvent;
use uuid::Uuid;

use crate::by_name::Named as _;
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
    assert_eq!(crate::schema::comment::<crate::works::Works>(), "version 1");
    // First half of the key of the advisory lock that keeps a second rebuild out.
    assert_eq!(rebuild::LOCK, 0x7265_6266);
}

#[test]
fn words_for_states() {
    let words = ["live", "catching_up", "rebuilding", "stalled", "never_run"];
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
    for (event_type, word) in [
        ("work_claimed", "claimed"),
        ("work_started", "started"),
        ("work_completed", "completed"),
        ("work_failed", "failed"),
        ("work_given_up", "given_up"),
    ] {
        let golden = format!("works/{event_type}.v1");
        let written = writes::<crate::works::Works>(&format!("work-{id}"), &golden, event_type);
        assert!(written.contains(&format!("\"{word}\"")), "{word}: {written}");
    }
    for (category, event_type, word) in [
        ("order", "order_placed", "placed"),
        ("order", "order_confirmed", "confirmed"),
        ("order", "order_cancelled", "cancelled"),
        ("order", "order_cancelled", "out_of_stock"),
        ("order", "order_shipped", "shipped"),
        ("stock", "stock_reserved", "stock_reserved"),
        ("stock", "stock_refused", "stock_refused"),
        ("stock", "stock_released", "stock_released"),
        ("stock", "stock_shipped", "stock_shipped"),
    ] {
        let (stream, golden) = (format!("{category}-{id}"), format!("orders/{event_type}.v1"));
        let written = writes::<crate::orders::OrderList>(&stream, &golden, event_type);
        assert!(written.contains(&format!("\"{word}\"")), "{word}: {written}");
    }
    assert_eq!(
        crate::works::Status::ALL.iter().map(|status| status.name()).collect::<Vec<_>>(),
        ["demanded", "claimed", "started", "completed", "failed", "given_up"]
    );
}
