//! No request makes the server fail: random values in paths, queries, headers and bodies of every
//! operation. `TRIBUTARY_FUZZ_REQUESTS` sets their number.

use anyhow::{Context, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;
use tests::{System, from_environment};

use crate::authorization::operations;
use crate::random::{self, Random};

/// Operations that end the session of a caller, never end, or take long.
const EXCLUDED: &[&str] = &[
    "GET /api/v1/events/stream",
    "GET /api/v1/console/stream",
    "POST /api/v1/projections/{name}/rebuild",
    "POST /api/v1/verifications",
];

const ID: &str = "0198c0de-0000-7000-8000-000000000000";

/// A value of a parameter in a path or query.
fn parameter() -> BoxedStrategy<String> {
    const LIKELY: &[&str] = &[
        ID,
        "u",
        "d",
        "1",
        "500",
        "-1",
        "9223372036854775807",
        "true",
        "asc",
        "1m",
        "works",
        "device-u~d",
        "works:work-1",
        "2026-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "0000-01-01T00:00:00Z",
        "-4713-01-01T00:00:00Z",
        "WyIyMDIzLTExLTE0VDIyOjEzOjIwWiIsN10",
        "WzEsImEiXQ",
    ];
    prop_oneof![
        5 => select(LIKELY).prop_map(str::to_owned),
        2 => random::name(),
        1 => "\\PC{0,300}",
        1 => Just("\0".to_owned()),
    ]
    .boxed()
}

/// A body: the template with one of its values replaced, or any JSON, or the template cut off.
fn body(template: &'static str) -> BoxedStrategy<Vec<u8>> {
    let parsed: Value = serde_json::from_str(template).unwrap_or_default();
    let replaced = (random::value(), any::<Index>()).prop_map(move |(value, index)| {
        let mut parsed = parsed.clone();
        let mut places = Vec::new();
        pointers(&parsed, String::new(), &mut places);
        let place: &String = index.get(&places);
        if let Some(place) = parsed.pointer_mut(place) {
            *place = value;
        }
        parsed.to_string().into_bytes()
    });
    let cut = any::<Index>()
        .prop_map(move |index| template.as_bytes()[..index.index(template.len() + 1)].to_vec());
    let any_json = random::value().prop_map(|value| value.to_string().into_bytes());
    prop_oneof![5 => replaced, 1 => cut, 1 => any_json, 1 => prop::collection::vec(any::<u8>(), 0..40)]
        .boxed()
}

/// Lists the JSON pointers of a value and of all values in it.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, of)| pointers(of, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, of)| pointers(of, format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn no_request_makes_the_server_fail() -> Result<()> {
    let requests: usize = from_environment("TRIBUTARY_FUZZ_REQUESTS", 1_500)?;
    let mut random = Random::new()?;
    let seed = random.seed;
    let system = System::start().await?;
    let process = system.serve(&[]).await?;
    let document = system.json("/openapi.json").await?;
    let operations: Vec<_> =
        operations().filter(|(operation, _)| !EXCLUDED.contains(operation)).collect();
    let mut statuses = std::collections::BTreeMap::new();
    for n in 0..requests {
        let (operation, template) = operations[n % operations.len()];
        let (method, path) = operation.split_once(' ').context("a method and a path")?;
        let described = &document["paths"][path][method.to_lowercase()];
        let mut target = path.to_owned();
        let mut query = Vec::new();
        for described in described["parameters"].as_array().into_iter().flatten() {
            let name = described["name"].as_str().unwrap_or_default();
            let value = random.pick(&parameter());
            match described["in"].as_str() {
                Some("path") => {
                    target = target.replace(&format!("{{{name}}}"), &encoded(&value));
                }
                Some("query") if random.pick(&any::<bool>()) => {
                    query.push(format!("{name}={}", encoded(&value)));
                }
                _ => {}
            }
        }
        let target = format!("{target}?{}", query.join("&"));
        let sent = if template.is_empty() { Vec::new() } else { random.pick(&body(template)) };
        let key = random.pick(&"[!-~]{1,210}");
        let url = format!("{}{target}", system.url());
        let request = system.http.request(method.parse()?, url).bearer_auth(&system.token);
        let kind = if template.starts_with("username=") {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        let request = request.header("content-type", kind).header("idempotency-key", key);
        let answer = request.body(sent.clone()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        *statuses.entry(status.as_u16()).or_insert(0) += 1;
        let shown = String::from_utf8_lossy(&sent);
        ensure!(
            !status.is_server_error(),
            "TRIBUTARY_FUZZ_SEED={seed}: {method} {target} {shown}: {status} {text}"
        );
        if status.is_client_error() {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            ensure!(
                problem["code"].is_string(),
                "TRIBUTARY_FUZZ_SEED={seed}: {method} {target} {shown}: {status} {text}"
            );
        }
    }
    let resident = process.resident()? / 1024 / 1024;
    eprintln!("{requests} requests, {resident} MiB resident, statuses {statuses:?}");
    ensure!(statuses.keys().any(|status| *status < 300), "nothing was accepted: {statuses:?}");
    Ok(())
}
