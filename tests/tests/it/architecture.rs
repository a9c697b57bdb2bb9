//! What `ARCHITECTURE.md` says of the source, checked on the source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every crate whose source is ours to shape; tests and benches are apart.
pub(crate) const CRATES: [&str; 11] = [
    "eventsourcing",
    "domain",
    "eventstore",
    "commands",
    "projections",
    "mqtt",
    "client",
    "devservers",
    "gateway",
    "loadtest",
    "cli",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

pub(crate) fn sources_of(krate: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&root().join(krate).join("src"), &mut found);
    assert!(!found.is_empty(), "{krate} has no source");
    found
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn crates_depend_in_one_direction() {
    const LOG: &[&str] = &["eventsourcing", "domain", "eventstore"];
    const GATEWAY: &[&str] =
        &["eventsourcing", "domain", "eventstore", "commands", "projections", "mqtt"];
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("eventsourcing", &[][..]),
        ("domain", &["eventsourcing"]),
        ("eventstore", &["eventsourcing"]),
        ("commands", LOG),
        ("projections", LOG),
        ("mqtt", &[]),
        ("client", &[]),
        ("devservers", &[]),
        ("gateway", GATEWAY),
        ("loadtest", &["eventsourcing", "domain", "eventstore", "mqtt", "client"]),
        ("cli", &CRATES),
    ]);
    for (krate, below) in &allowed {
        let manifest = read(&root().join(krate).join("Cargo.toml"));
        let manifest = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for other in allowed.keys().filter(|other| *other != krate) {
            let depends = manifest.lines().any(|line| line.starts_with(&format!("{other}.")));
            let may = below.contains(other);
            assert!(may || !depends, "{krate} must not depend on {other}");
        }
    }
}

#[test]
fn the_domain_does_no_input_and_no_output() {
    let manifest = read(&root().join("domain/Cargo.toml"));
    for name in ["tokio", "sqlx", "async-nats", "axum", "reqwest"] {
        assert!(!manifest.contains(name), "domain must not depend on {name}");
    }
}

#[test]
fn only_the_read_side_and_the_store_speak_sql() {
    for krate in ["eventsourcing", "domain", "commands", "mqtt", "gateway", "cli"] {
        for path in &sources_of(krate) {
            let text = read(path);
            for sql in ["sqlx::query", "sqlx::raw_sql"] {
                assert!(!text.contains(sql), "{} holds SQL", path.display());
            }
        }
    }
}

#[test]
fn every_context_has_its_files() {
    for context in domain::CONTEXTS {
        let name = context.name;
        for place in ["domain/src", "projections/src", "gateway/src/http"] {
            let folder = root().join(place);
            let there = folder.join(name).join("mod.rs").exists()
                || folder.join(format!("{name}.rs")).exists();
            assert!(there, "the context {name} misses its file or folder in {place}");
        }
        assert!(root().join("domain/golden").join(name).is_dir(), "{name} misses its golden files");
        assert!(
            root().join("tests/tests/it").join(format!("{name}.rs")).exists(),
            "{name} misses its integration test"
        );
    }
}

#[test]
fn no_context_knows_another() {
    let names: Vec<_> = domain::CONTEXTS.iter().map(|context| context.name).collect();
    for krate in ["domain", "commands", "projections"] {
        for path in sources_of(krate) {
            let within = path.strip_prefix(root().join(krate).join("src")).expect("a source");
            let stem = within.components().next().map(|first| first.as_os_str().to_string_lossy());
            let stem = stem.unwrap_or_default().trim_end_matches(".rs").to_owned();
            if !names.contains(&stem.as_str()) {
                continue; // What contexts share, and the lists of them.
            }
            let text = read(&path);
            for other in names.iter().filter(|name| **name != stem) {
                let published = |path: &str| path.starts_with("published");
                let knows = |prefix: &str| {
                    let other = format!("{prefix}::{other}::");
                    text.split(other.as_str()).skip(1).any(|path| !published(path))
                };
                assert!(
                    !knows("crate") && !knows("domain"),
                    "{} uses {other}: contexts use only `published` of each other",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_and_stays_small() {
    /// Beyond this many lines a file is two files.
    const MOST_LINES: usize = 400;
    let mut lengths = Vec::new();
    for krate in CRATES {
        for path in sources_of(krate) {
            let text = read(&path);
            assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
            let length = text.lines().count();
            assert!(length <= MOST_LINES, "{} has {length} lines", path.display());
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 130, "the median file has {median} lines");
}
