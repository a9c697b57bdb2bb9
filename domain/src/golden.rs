//! Checks that every event ever recorded can be decoded: the folder `golden/` holds each schema version
//! of each event type. A golden file never changes; a new form of an event is a new schema version with
//! an upcast.

use std::path::{Path, PathBuf};

use crate::{
    CONTEXTS, alerts, documents, host, orders, page_views, projects, telemetry, users, works,
};
use eventsourcing::{Context, Event, golden};

/// Checks the golden files of one event set.
type Check = fn(&Context);

/// All event sets by context, one entry for each context in [`CONTEXTS`].
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
            check::<users::namespace::Event>,
            check::<users::session::Event>,
        ],
    ),
    (&works::CONTEXT, &[check::<works::Event>]),
];

/// Checks the golden files of the event set `E`, which `context` must list.
fn check<E: Event>(context: &Context) {
    assert!(context.events.contains(&E::TYPES), "{} must list each event set", context.name);
    golden::check::<E>(&folder(context));
}

fn folder(context: &Context) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(context.name)
}

#[test]
fn every_event_ever_recorded_can_be_decoded() {
    for (context, checks) in SETS {
        assert_eq!(
            context.events.len(),
            checks.len(),
            "{}: every event set must be checked",
            context.name
        );
        checks.iter().for_each(|check| check(context));
    }
    let mut checked: Vec<_> = SETS.iter().map(|(context, _)| context.name).collect();
    checked.sort_unstable();
    let listed: Vec<_> = CONTEXTS.iter().map(|context| context.name).collect();
    assert_eq!(checked, listed, "every context must be checked");
}

#[test]
fn every_golden_file_belongs_to_an_event() {
    for context in CONTEXTS {
        golden::check_names(&folder(context), context.events.iter().copied().flatten());
    }
}

#[test]
fn an_event_type_belongs_to_one_context() {
    let mut types: Vec<_> =
        CONTEXTS.iter().flat_map(|context| context.events).copied().flatten().collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup_by_key(|(name, _)| *name);
    assert_eq!(types.len(), all, "two event sets share an event type");
}
