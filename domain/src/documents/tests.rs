//! Specifications of documents and schemas.

use chrono::DateTime;

use super::document::Document;
use super::schema::Schema;
use super::*;
use eventsourcing::given::given;
use eventsourcing::json::Fault;

fn read(text: &str) -> Result<Body, Fault> {
    Body::new(serde_json::from_str(text).unwrap())
}

fn body(text: &str) -> Body {
    read(text).unwrap()
}

/// Digits, order of members and white space that parsing and serializing would change.
const AWKWARD: &str =
    "{ \"z\": 123456789012345678901234567890.10, \"a\":1E2,\n \"é\":\"\\u00e9\" }";

fn recorded(schema: Option<SchemaRef>) -> document::Event {
    document::Event::DocumentRecorded {
        owner_id: Uuid::from_u128(7),
        created_at: DateTime::UNIX_EPOCH,
        schema,
        data: body(AWKWARD),
    }
}

fn record(schema: Option<SchemaRef>) -> document::Command {
    document::Command::Record {
        owner_id: Uuid::from_u128(7),
        created_at: DateTime::UNIX_EPOCH,
        schema,
        data: body(AWKWARD),
    }
}

fn registered(version: u32, text: &str) -> schema::Event {
    let created_at = DateTime::UNIX_EPOCH;
    schema::Event::SchemaRegistered { version, created_at, schema: body(text) }
}

fn register(text: &str) -> schema::Command {
    schema::Command::Register { created_at: DateTime::UNIX_EPOCH, schema: body(text) }
}

#[test]
fn a_document_is_recorded_once_with_its_original_text() {
    let schema = Some(SchemaRef { name: SchemaName::parse("order").unwrap(), version: 3 });
    given::<Document>([]).when(record(None)).then([recorded(None)]);
    given::<Document>([]).when(record(schema.clone())).then([recorded(schema)]);
    given::<Document>([recorded(None)])
        .when(record(None))
        .then_rejected(document::Rejection::AlreadyRecorded);
}

#[test]
fn a_different_text_is_the_next_version_of_a_schema() {
    let (first, second) = (r#"{"type":"object"}"#, r#"{ "type":"object" }"#);
    given::<Schema>([]).when(register(first)).then([registered(1, first)]);
    given::<Schema>([registered(1, first)]).when(register(first)).then_nothing();
    given::<Schema>([registered(1, first)]).when(register(second)).then([registered(2, second)]);
    given::<Schema>([registered(1, first), registered(2, second)])
        .when(register(first))
        .then([registered(3, first)]);
}

#[test]
fn an_invalid_document_is_refused_with_a_pointer_to_the_fault() {
    for (text, pointer, detail) in [
        ("[]", "", "must be an object"),
        ("1", "", "must be an object"),
        (r#"{"a":["x","\u0000"]}"#, "/a/1", "u0000"),
        (r#"{"a/b":{"\u0000":1}}"#, "/a~1b", "u0000"),
        (r#"{"a":{"b":1,"c":2,"b":3}}"#, "/a/b", "duplicate"),
        (r#"{"a":{"n":1e999}}"#, "/a/n", "out of range"),
        (r#"{"a":"\ud800"}"#, "/a", "lone surrogate"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.pointer, pointer, "{text}");
        assert!(error.reason.to_string().contains(detail), "{text}: {error}");
    }
}

#[test]
fn a_number_that_a_validator_rounds_has_a_place() {
    let check = |text: &str| body(text).check_numbers().map_err(|fault| fault.pointer);
    assert_eq!(
        check(r#"{"a": [18446744073709551615, -1, 0.1, 1.50, 1e22, 9007199254740993]}"#),
        Ok(())
    );
    for number in ["18446744073709551616", "0.30000000000000000001", "9007199254740993.0"] {
        assert_eq!(
            check(&format!(r#"{{"a": [1, {number}]}}"#)),
            Err("/a/1".to_owned()),
            "{number}"
        );
    }
}

#[test]
fn a_private_name_of_serde_json_is_a_name_like_any_other() {
    let text = r#"{"a":{"$serde_json::private::RawValue":"[1"}}"#;
    assert_eq!(read(text).unwrap().as_str(), text);
}

#[test]
fn the_nesting_depth_is_limited() {
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(read(&nested(Body::MAX_DEPTH)).is_ok());
    let error = read(&nested(Body::MAX_DEPTH + 1)).unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
    assert!(read(&nested(100_000)).is_err());
}

#[test]
fn a_schema_name_is_short_and_lower_case() {
    for name in ["a", "order-v2.draft_1", &"x".repeat(64)] {
        assert!(SchemaName::parse(name).is_ok(), "{name}");
    }
    for name in ["", "Order", "a b", "a/b", "é", &"x".repeat(65)] {
        assert!(SchemaName::parse(name).is_err(), "{name}");
    }
}
