//! Every version of every event type ever written stands in `golden/`, and can be read for ever.
//! A file here is never changed: a new shape is a new schema version, with an upcast.

use std::path::{Path, PathBuf};

use crate::{
    CONTEXTS, alerts, documents, host, orders, page_views, projects, telemetry, users, works,
};
use eventsourcing::Context;
use eventsourcing::event::{Event, decode, encode};

/// Checks the golden files of one event set.
type Check = fn(&Context);

/// Every event set there is, by context: one line a context, as in [`CONTEXTS`].
const SETS: &[(&Context, &[Check])] = &[
    (&alerts::CONTEXT, &[check::<alerts::RulesEvent>, check::<alerts::alert::Event>]),
    (
        &documents::CONTEXT,
        &[check::<documents::document::Event>, check::<documents::schema::Event>],
    ),
    (&host::CONTEXT, &[check::<host::Event>]),
    (
        &orders::CONTEXT,
        &[
            check::<orders::order::Event>,
            check::<orders::product::Event>,
            check::<orders::product::SkuEvent>,
            check::<orders::stock_item::Event>,
        ],
    ),
    (&page_views::CONTEXT, &[check::<page_views::Event>]),
    (&projects::CONTEXT, &[check::<projects::project::Event>, check::<projects::task::Event>]),
    (&telemetry::CONTEXT, &[check::<telemetry::Event>, check::<telemetry::presence::Event>]),
    (
        &users::CONTEXT,
        &[
            check::<users::user::Event>,
            check::<users::email_claim::Event>,
            check::<users::session::Event>,
        ],
    ),
    (&works::CONTEXT, &[check::<works::Event>]),
];

/// Checks every golden file of the event types of `E`: `{type}.v{version}.json`, and as
/// `{type}.v{version}.{form}.json` the other forms that optional fields and enums give an event.
fn check<E: Event>(context: &Context) {
    assert!(context.events.contains(&E::TYPES), "{} lists the events of its set", context.name);
    let files = files(context);
    for (event_type, current) in E::TYPES {
        for version in 1..=*current {
            let stem = format!("{event_type}.v{version}");
            assert!(files.contains(&format!("{stem}.json")), "{stem}.json is missing");
            for file in files.iter().filter(|file| file.starts_with(&format!("{stem}."))) {
                let golden = std::fs::read_to_string(folder(context).join(file)).unwrap();
                let event: E = decode(event_type, version, golden.trim())
                    .unwrap_or_else(|error| panic!("{file}: {error:?}"));
                let stored = encode(&event).unwrap();
                assert_eq!((&*stored.event_type, stored.schema_version), (*event_type, *current));
                if version == *current {
                    assert_eq!(&*stored.data, golden.trim(), "{file} is written otherwise");
                }
            }
        }
    }
}

fn folder(context: &Context) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(context.name)
}

fn files(context: &Context) -> Vec<String> {
    let entries = std::fs::read_dir(folder(context)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_event_ever_written_can_be_read() {
    for (context, checks) in SETS {
        assert_eq!(context.events.len(), checks.len(), "{} has as many sets", context.name);
        checks.iter().for_each(|check| check(context));
    }
    let mut checked: Vec<_> = SETS.iter().map(|(context, _)| context.name).collect();
    checked.sort_unstable();
    let listed: Vec<_> = CONTEXTS.iter().map(|context| context.name).collect();
    assert_eq!(checked, listed, "every context has its golden files checked");
}

#[test]
fn every_golden_file_belongs_to_an_event() {
    for context in CONTEXTS {
        let types = context.events.iter().copied().flatten();
        let stems: Vec<_> = types
            .flat_map(|(event_type, current)| (1..=*current).map(move |v| (event_type, v)))
            .map(|(event_type, version)| format!("{event_type}.v{version}."))
            .collect();
        for file in files(context) {
            assert!(stems.iter().any(|stem| file.starts_with(stem)), "{file}: no such event");
        }
    }
}

#[test]
fn an_event_type_belongs_to_one_context() {
    let mut types: Vec<_> =
        CONTEXTS.iter().flat_map(|context| context.events).copied().flatten().collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup_by_key(|(name, _)| *name);
    assert_eq!(types.len(), all, "two sets share the name of an event");
}

mod upcasting {
    use serde::{Deserialize, Serialize};

    use eventsourcing::event::{CodecError, Event, Upcast, decode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data", rename_all = "snake_case")]
    enum Sample {
        Measured { celsius: f64, by: String },
    }

    impl Event for Sample {
        const TYPES: &'static [(&'static str, i16)] = &[("measured", 3)];
        const UPCASTS: &'static [Upcast] = &[
            Upcast {
                event_type: "measured",
                from: 1,
                apply: |fields| {
                    let degrees = fields.remove("degrees").unwrap_or_default();
                    fields.insert("celsius".into(), degrees);
                },
            },
            Upcast {
                event_type: "measured",
                from: 2,
                apply: |fields| {
                    fields.insert("by".into(), "unknown".into());
                },
            },
        ];
    }

    #[test]
    fn an_old_event_is_brought_up_to_date_step_by_step() {
        let event: Sample = decode("measured", 1, r#"{"degrees": 21.5}"#).unwrap();
        assert_eq!(event, Sample::Measured { celsius: 21.5, by: "unknown".into() });
        let event: Sample = decode("measured", 2, r#"{"celsius": 21.5}"#).unwrap();
        assert_eq!(event, Sample::Measured { celsius: 21.5, by: "unknown".into() });
    }

    #[test]
    fn an_event_of_a_newer_build_is_not_guessed_at() {
        let error = decode::<Sample>("measured", 4, "{}").unwrap_err();
        assert!(matches!(error, CodecError::NewerSchema { .. }), "{error}");
        let error = decode::<Sample>("weighed", 1, "{}").unwrap_err();
        assert!(matches!(error, CodecError::UnknownType(_)), "{error}");
    }
}
