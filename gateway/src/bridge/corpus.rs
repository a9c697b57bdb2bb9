//! Messages in the formats of others, from `tests/corpus/`: what each becomes by a topic mapping is its
//! golden file, and `docs/payloads.md` is the table of all of them. `TRIBUTARY_UPDATE=1` writes both.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::decoder::Decoder;
use super::explain::{Explanation, explain};
use super::mapping::Mappings;
use super::message::Delivery;

#[derive(Deserialize)]
struct Entry {
    format: String,
    what: String,
    topic: String,
    payload: Value,
    becomes: String,
}

const HEAD: &str = "# Payloads of other formats

What becomes of messages in the formats of other systems, by the topic mappings in [tests/corpus/mappings.json](../tests/corpus/mappings.json), and what becomes of the same payload, with a `sequence_id` added, under Tributary's own topic. A test writes this table from [tests/corpus/messages.json](../tests/corpus/messages.json); another sends each message and its variants (again, cut in half, empty, over HTTP, over HTTP without a sequence number) to running servers. [mqtt.md](mqtt.md#topic-mappings) describes mappings.

| format | message | by the mapping | as | under our own topic |
|---|---|---|---|---|
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn entries() -> Vec<Entry> {
    let json = std::fs::read_to_string(root().join("tests/corpus/messages.json")).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn text(payload: &Value) -> String {
    payload.as_str().map_or_else(|| payload.to_string(), str::to_owned)
}

fn explained(topic: &str, payload: &str) -> Explanation {
    let mappings = root().join("tests/corpus/mappings.json");
    let mappings = Mappings::load(mappings.to_str().unwrap()).unwrap();
    let decoder = Decoder { mappings, ..Decoder::default() };
    // Behind all times of the corpus.
    let received_at = DateTime::from_timestamp(1_796_000_000, 0).unwrap();
    explain(&decoder, topic, payload.as_bytes(), Delivery::default(), received_at)
}

fn data(explained: &Explanation) -> Value {
    explained.data.as_ref().map_or(Value::Null, |data| serde_json::from_str(data.get()).unwrap())
}

/// Compares with a file, or writes it.
fn check(path: &str, now: &str, same: impl Fn(&str, &str) -> bool) {
    let path = root().join(path);
    if std::env::var_os("TRIBUTARY_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(same(&before, now), "{} differs; now:\n{now}", path.display());
}

#[test]
fn every_format_becomes_what_its_golden_file_says() {
    let mut formats: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for Entry { format, what, topic, payload, becomes } in entries() {
        let explained = explained(&topic, &text(&payload));
        let outcome = match becomes.as_str() {
            "mapped" => "recorded",
            "ignored" => "ignored",
            _ => "rejected",
        };
        assert_eq!(explained.outcome, outcome, "{topic}: {}", explained.reason);
        let slug = format.to_lowercase().replace(' ', "_");
        formats.entry(slug).or_default().push(json!({
            "message": what,
            "topic": topic,
            "outcome": explained.outcome,
            "reason": explained.reason,
            "notes": explained.notes,
            "stream": explained.stream,
            "data": data(&explained),
        }));
    }
    for (format, messages) in formats {
        let now = serde_json::to_string_pretty(&messages).unwrap() + "\n";
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        check(&format!("tests/corpus/golden/{format}.json"), &now, |before, now| {
            parsed(before) == parsed(now)
        });
    }
}

#[test]
fn the_table_says_what_becomes_of_every_message() {
    let mut table = HEAD.to_owned();
    for (number, Entry { format, what, topic, payload, .. }) in entries().iter().enumerate() {
        let by_mapping = explained(topic, &text(payload));
        let mut cell = match by_mapping.outcome {
            "recorded" => "mapped".to_owned(),
            outcome => format!("{outcome}: {}", by_mapping.reason),
        };
        for note in &by_mapping.notes {
            write!(cell, "; {note}").unwrap();
        }
        let device = match by_mapping.stream.strip_prefix("device-") {
            Some(device) => format!("`{device}`"),
            None => String::new(),
        };
        let own = own(number, payload);
        writeln!(table, "| {format} | {what} | {cell} | {device} | {own} |").unwrap();
    }
    check("docs/payloads.md", &table, |before, now| before == now);
}

/// What becomes of the payload under our own topic, with a sequence number.
fn own(number: usize, payload: &Value) -> String {
    let sent = match payload {
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("sequence_id".to_owned(), number.into());
            Value::Object(members).to_string()
        }
        other => text(other),
    };
    let explained = explained("users/u/devices/d/telemetry", &sent);
    if explained.outcome != "recorded" {
        // The place and what follows is that of the JSON parser.
        let reason = explained.reason.split(" at line").next().unwrap_or_default();
        return format!("{}: {reason}", explained.outcome);
    }
    let data = data(&explained);
    let kept = data["extra_data"].as_object().cloned().unwrap_or_default();
    let lost: Map<String, Value> = payload
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| kept.get(*name) != Some(value) && !value.is_null())
        .filter(|(name, _)| !["temperature", "battery", "time"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    "kept whole".to_owned()
}
