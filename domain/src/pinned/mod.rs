//! Literal values of what is stored or visible from outside and must survive every rename in the
//! code: derived ids, stored words, stored state, stream names, codes of rejections. A value here
//! never changes; a list may grow without being extended here.

mod ids;
mod shown;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::Role;
use crate::alerts::{ClearReason, Operator, Scope, Severity};
use crate::projects::Status;
use crate::telemetry::presence::StatusReason;
use crate::telemetry::{DeviceId, DeviceRef, UserId};
use crate::{alerts, documents, host, orders, page_views, projects, telemetry, users, works};
use eventsourcing::Metadata;

/// Compares each value with its literal, and reports all that differ at once.
fn assert_pinned(pinned: impl IntoIterator<Item = (String, &'static str)>) {
    let changed: Vec<_> = pinned.into_iter().filter(|(value, literal)| value != literal).collect();
    assert!(changed.is_empty(), "(now, pinned): {changed:#?}");
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
}

fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn stored_words() {
    fn both<T: Serialize>(words: &[T], as_str: fn(&T) -> &'static str) -> String {
        let words = words.iter().map(|word| {
            assert_eq!(json_of(word), format!("{:?}", as_str(word)));
            as_str(word)
        });
        words.collect::<Vec<_>>().join(" ")
    }
    use Operator::{Above, AtLeast, AtMost, Below, Between, Equal, IsMissing, NotEqual, Outside};
    let operators = [Above, Below, AtLeast, AtMost, Equal, NotEqual, Between, Outside, IsMissing];
    use Severity::{Critical, Info, Major, Minor, Warning};
    let severities = [Info, Warning, Minor, Major, Critical];
    let reasons = [telemetry::Reason::Inactive, telemetry::Reason::Heard];
    assert_pinned([
        (both(&Role::ALL, |role| role.as_str()), "user operator admin"),
        (both(&Status::ALL, |status| status.as_str()), "ToDo InProgress Done"),
        (
            both(&operators, |operator| operator.as_str()),
            "> < >= <= == != between outside is_missing",
        ),
        (both(&severities, |severity| severity.as_str()), "info warning minor major critical"),
        (StatusReason::ALL.map(StatusReason::as_str).join(" "), "birth will inactive heard"),
        (json_of(&reasons), r#"["inactive","heard"]"#),
        (
            json_of(&[ClearReason::Recovered, ClearReason::RuleChanged]),
            r#"["recovered","rule_changed"]"#,
        ),
        (json_of(&users::session::Reason::Logout), r#""logout""#),
        (json_of(&users::session::Reason::Reuse), r#""reuse""#),
        (json_of(&users::session::Reason::PasswordChanged), r#""password_changed""#),
        (orders::order::Reason::Requested.code().into(), "requested"),
        (orders::order::Reason::Expired.code().into(), "expired"),
        (
            orders::order::Reason::OutOfStock { product_id: Uuid::nil(), wanted: 2, available: 1 }
                .code()
                .into(),
            "out_of_stock",
        ),
        (telemetry::MessageRejected::new("t", b"text", "r").encoding, "text"),
        (telemetry::MessageRejected::new("t", &[0xff], "r").encoding, "hex"),
        (users::SECRET_MEMBER.into(), "password_hash"),
        (alerts::READING.into(), "reading_recorded"),
    ]);
}

#[test]
fn streams() {
    let id = Uuid::from_u128(7);
    let user = UserId::parse("u").unwrap();
    let device = DeviceId::parse("d").unwrap();
    let device = DeviceRef { user_id: &user, device_id: &device };
    let namespace = users::Namespace::try_from(Box::from("ada")).unwrap();
    let email = "Ada@example.org".parse().unwrap();
    let sku = orders::Sku::try_from("HAT-1".to_owned()).unwrap();
    let schema = documents::SchemaName::parse("order").unwrap();
    let streams = [
        (alerts::alert_stream(id), "alert-00000000-0000-0000-0000-000000000007"),
        (alerts::rules_stream(&Scope::Everybody), "rules-~"),
        (alerts::rules_stream(&Scope::User("u".into())), "rules-u"),
        (documents::document_stream(id), "document-00000000-0000-0000-0000-000000000007"),
        (documents::schema_stream(&schema), "schema-order"),
        (host::stream(&"web-1".parse().unwrap()), "host-web-1"),
        (orders::order_stream(id), "order-00000000-0000-0000-0000-000000000007"),
        (orders::product_stream(id), "product-00000000-0000-0000-0000-000000000007"),
        (orders::stock_stream(id), "stock-00000000-0000-0000-0000-000000000007"),
        (orders::sku_stream(&sku), "sku-HAT-1"),
        (page_views::stream(at(0)), "page_view-2023-11-14"),
        (projects::project::stream(id), "project-00000000-0000-0000-0000-000000000007"),
        (projects::task::stream(id), "task-00000000-0000-0000-0000-000000000007"),
        (telemetry::device_stream(device), "device-u~d"),
        (telemetry::presence::stream(&user), "presence-u"),
        (telemetry::rejection_stream("mqtt"), "rejection-mqtt"),
        (users::user::stream(id), "user-00000000-0000-0000-0000-000000000007"),
        (
            users::email_claim::stream(&email),
            "email-cfe00dde46ef942601ffafb9e2825e802858b460e586b8305b344c1eb826357d",
        ),
        (users::namespace::stream(&namespace), "namespace-ada"),
        (users::session::stream(id), "session-00000000-0000-0000-0000-000000000007"),
        (works::stream(id), "work-00000000-0000-0000-0000-000000000007"),
    ];
    assert_pinned(streams.map(|(stream, literal)| (stream.to_string(), literal)));
}

#[test]
fn contexts_and_their_categories() {
    for (name, categories) in [
        ("alerts", ["alert", "rules"].as_slice()),
        ("documents", &["document", "schema"]),
        ("host", &["host"]),
        ("orders", &["order", "product", "sku", "stock"]),
        ("page_views", &["page_view"]),
        ("projects", &["project", "task"]),
        ("telemetry", &["device", "presence", "rejection"]),
        ("users", &["email", "namespace", "session", "user"]),
        ("works", &["work"]),
    ] {
        for category in categories {
            let context = crate::context_of(category).unwrap();
            assert_eq!(context.name, name, "{category}");
        }
    }
}

#[test]
fn metadata_of_an_event() {
    let id = Uuid::from_u128;
    let whole = Metadata {
        correlation_id: Some(id(5)),
        causation_id: Some(id(6)),
        actor: Some("ada".into()),
        traceparent: Some("00-1-2-01".into()),
    };
    let pinned = concat!(
        r#"{"correlation_id":"00000000-0000-0000-0000-000000000005","#,
        r#""causation_id":"00000000-0000-0000-0000-000000000006","#,
        r#""actor":"ada","traceparent":"00-1-2-01"}"#
    );
    assert_pinned([(json_of(&whole), pinned), (json_of(&Metadata::default()), "{}")]);
}
