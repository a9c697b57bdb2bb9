//! Golden files: checks, for tests, that every schema version ever recorded of an event can be decoded.
//!
//! A folder holds `{type}.v{version}.json` for each schema version of each event type, and
//! `{type}.v{version}.{form}.json` for further forms, such as those without optional members. The
//! content is the data of a stored event. Golden files never change.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

use crate::event::{Event, decode, encode};

/// Decodes every golden file of the event set `E` in `folder`. Files of the current schema version
/// must also be encoded to the same text.
///
/// # Panics
/// Panics if the file of a schema version is missing, cannot be decoded, or is encoded differently.
pub fn check<E: Event>(folder: &Path) {
    let files = names(folder);
    for (event_type, current) in E::TYPES {
        for version in 1..=*current {
            let stem = format!("{event_type}.v{version}");
            assert!(files.contains(&format!("{stem}.json")), "{stem}.json is missing");
            for file in files.iter().filter(|file| file.starts_with(&format!("{stem}."))) {
                let golden = read_to_string(folder.join(file)).expect("the file must be readable");
                let event = decode::<E>(event_type, version, golden.trim());
                let event = event.map_err(|error| format!("{file}: {error:?}"));
                let event = event.expect("the golden file must be decodable");
                let stored = encode(&event).expect("the event must be encodable");
                assert_eq!((&*stored.event_type, stored.schema_version), (*event_type, *current));
                if version == *current {
                    assert_eq!(&*stored.data, golden.trim(), "{file} is encoded differently");
                }
            }
        }
    }
}

/// Checks that every file in `folder` is named after one of the event types, given with their current
/// schema versions.
///
/// # Panics
/// Panics if a file belongs to no event type or to a schema version that does not exist.
pub fn check_names<'a>(folder: &Path, types: impl IntoIterator<Item = &'a (&'a str, i16)>) {
    let stems: Vec<_> = types
        .into_iter()
        .flat_map(|(event_type, current)| (1..=*current).map(move |version| (event_type, version)))
        .map(|(event_type, version)| format!("{event_type}.v{version}."))
        .collect();
    for file in names(folder) {
        assert!(stems.iter().any(|stem| file.starts_with(stem)), "{file} belongs to no event");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = read_dir(folder).expect("the folder of golden files must exist");
    let names = entries.map(|entry| entry.expect("the folder must be readable").file_name());
    names.map(|name| name.into_string().expect("file names are UTF-8")).collect()
}
