//! Properties of all routes, checked against the OpenAPI document and a server without a database.

use std::sync::Arc;
use std::time::Duration;

use commands::Handlers;
use domain::Role;
use eventstore::{EventStore, Feed, Tasks};
use projections::Waiter;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Admission, Api, ConnectionLimits, DryRuns, Limits, Process, Rebuilds, Stop, document, router,
    serve,
};
use crate::backpressure::Backpressure;
use crate::config::Config;
use crate::tokens::make_key;

fn described() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// Method, path and description of every operation.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().iter();
        let operations = methods.map(|(method, operation)| {
            let method: Method = method.to_uppercase().parse().unwrap();
            (method, path.clone(), operation.clone())
        });
        operations.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The API on a free port, with a database that is unreachable.
async fn without_database() -> (String, String) {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let nowhere: sqlx::postgres::PgConnectOptions =
        "postgres://unknown@127.0.0.1:1/nothing".parse().unwrap();
    let store = EventStore::open(eventstore::pool(nowhere, 1), &tasks, shutdown.clone());
    let directory = std::env::temp_dir().join(uuid::Uuid::now_v7().to_string());
    let keys = make_key(&directory).unwrap();
    std::fs::remove_file(&directory).unwrap();
    let token = keys.sign("ada", Role::Admin, Duration::from_mins(1)).unwrap();
    let progress = projections::Progress::default();
    let config = Config::private("postgres://u@h/d", "nats://h", "mqtt://h", &directory).unwrap();
    let api = Api {
        admission: Arc::new(Admission::new(
            &config.http,
            &config.client_limits,
            Backpressure::never(),
        )),
        feed: Feed::start(&store, None, &tasks, shutdown.clone()),
        bus: watch::channel(false).1,
        bridge: None,
        vitals: crate::vitals::Monitor::default(),
        process: Process {
            config: Arc::new(config.clone()),
            roles: Arc::new([]),
            started_at: chrono::Utc::now(),
            bus: eventstore::Bus::connect("nats://127.0.0.1:1").await.unwrap(),
        },
        verifications: crate::verification::Verifications::new(tasks.clone()),
        cors: config.cors.clone(),
        event_tickets: config.event_tickets,
        handlers: Handlers::new(&store),
        standby: None,
        wait: Waiter::start(store.reader(), progress, &tasks, shutdown.clone()),
        rebuilds: Rebuilds::new(tasks.clone()),
        keys,
        one_time_codes: crate::one_time_codes::OneTimeCodes::default(),
        host: crate::host_metrics::Reader::default(),
        dry_runs: DryRuns::new(config.alerts),
        readings: domain::telemetry::Limits::DEFAULT,
        repetitions: commands::readings::Repetitions::new(store.clone(), Duration::ZERO),
        order_ttl: Duration::from_mins(15),
        access_token_ttl: Duration::from_mins(15),
        refresh_grace: Duration::from_secs(10),
        started: Arc::default(),
        draining: CancellationToken::new(),
        shutdown: shutdown.clone(),
        store,
    };
    let limits = Limits { body: 1024, time: Duration::from_secs(10), logged_refusals: 1 };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = ConnectionLimits { connections: 100, header: Duration::from_secs(10) };
    let connected = tasks.clone();
    let stop = Stop { draining: CancellationToken::new(), shutdown };
    tasks.spawn("HTTP", async move {
        serve(listener, router(Arc::new(api), limits), connections, &connected, stop).await;
    });
    (url, token)
}

fn filled(path: &str) -> String {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    path.replace("{id}", id)
        .replace("{stream_id}", "device-a~b")
        .replace("{user_id}", "a")
        .replace("{device_id}", "b")
}

#[tokio::test]
async fn a_route_that_does_not_declare_itself_open_requires_a_token() {
    let (url, _) = Box::pin(without_database()).await;
    for (method, path, operation) in operations(&described()) {
        let open = operation.get("security").is_some();
        let answer = client::http(None)
            .unwrap()
            .build()
            .unwrap()
            .request(method.clone(), format!("{url}{}", filled(&path)))
            .send()
            .await
            .unwrap();
        let refused = answer.status() == StatusCode::UNAUTHORIZED;
        assert_eq!(refused, !open, "{method} {path}: {}", answer.status());
        if refused {
            assert!(answer.headers().contains_key("www-authenticate"), "{method} {path}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "unauthenticated");
        }
    }
}

#[tokio::test]
async fn an_invalid_request_is_refused_even_in_an_outage_which_is_a_503() {
    let (url, token) = Box::pin(without_database()).await;
    let client = client::http(None).unwrap().build().unwrap();
    let post = |body: &str, kind: &str| {
        let request = client.post(format!("{url}/api/v1/works")).bearer_auth(&token);
        request.header("content-type", kind).body(body.to_owned()).send()
    };
    let large = " ".repeat(2000);
    for (body, kind, status) in [
        ("{}", "text/plain", 415),
        ("{", "application/json", 400),
        ("{\"x\": 1}", "application/json", 422),
        ("[1]", "application/json; charset=utf-8", 422),
        (&large, "application/json", 413),
        ("{}", "application/json", 503),
    ] {
        let answer = post(body, kind).await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers().contains_key("retry-after"), status == 503);
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], status);
    }
    for (path, status) in [("/readyz", 503), ("/livez", 200), ("/nothing", 404), ("/docs/", 200)] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let metrics = client.get(format!("{url}/metrics")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(metrics.status(), 200);
    assert!(!metrics.text().await.unwrap().contains("tributary_projection_"), "the lag is unknown");
}

#[test]
fn every_operation_describes_its_problems() {
    let document = described();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    assert!(operations.len() >= 16);
    for (method, path, operation) in operations {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("500"), "{method} {path}");
        for (status, response) in responses {
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
            let expected = status.as_str() >= "400";
            assert_eq!(problem == "#/components/schemas/Problem", expected, "{path} {status}");
        }
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{path}");
    }
}

#[test]
fn operation_ids_are_short_unique_names() {
    let mut known = std::collections::BTreeSet::new();
    for (method, path, operation) in operations(&described()) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(plain && (4..=32).contains(&id.len()), "{method} {path}: {id}");
        assert!(known.insert(id.clone()), "{method} {path}: {id} names another operation, too");
    }
}

#[test]
fn every_body_has_an_example() {
    for (method, path, operation) in operations(&described()) {
        for (media_type, content) in
            operation["requestBody"]["content"].as_object().into_iter().flatten()
        {
            let known = media_type == "text/plain" || !content["example"].is_null();
            assert!(known, "{method} {path} {media_type}: add an example to request_examples.rs");
        }
    }
}

#[test]
fn every_reference_in_the_document_resolves() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    found.push(reference.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = described();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
