//! Literal names and words that are stored or seen from outside, in a running system and in the
//! source: whatever is renamed in the code, these stay.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tests::{System, eventually};

use crate::orders::{place, product, until};

/// What `sql` selects, one text a row.
async fn texts(system: &System, sql: &'static str) -> Result<BTreeSet<String>> {
    Ok(sqlx::query_scalar(sql).fetch_all(&system.admin).await?.into_iter().collect())
}

fn assert_holds(found: &BTreeSet<String>, pinned: &[&str]) {
    let lost: Vec<_> = pinned.iter().filter(|name| !found.contains(**name)).collect();
    assert!(lost.is_empty(), "{lost:#?} are not in {found:#?}");
}

#[tokio::test]
async fn names_in_a_running_system() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(system.nats.url()).await?);
    let work = system
        .post("/api/v1/works", &json!({"add_up_to": 4}))
        .header("Idempotency-Key", "key-1")
        .send()
        .await?;
    assert_eq!(work.status(), 202);
    assert!(work.headers().contains_key("tributary-position"));
    system
        .caller(&system.token)
        .command(Method::PUT, "/api/v1/users/u/config", &json!({"temperature_max": 20}))
        .await?;
    system
        .publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1, "temperature": 21}"#)
        .await?;
    eventually("the demands can be taken", async || {
        Ok(jetstream.get_stream("COMMANDS").await.is_ok())
    })
    .await?;
    for (id, body) in [("m-1", r#"{"add_up_to": 4}"#), ("m-2", "nonsense")] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let sent = jetstream.publish_with_headers("commands.works.demand", headers, body.into());
        sent.await?.await?;
    }
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT-1", "9.90", 5).await?;
    let order = place(&operator, &[(&hat, 1)]).await?;
    until(&operator, &order, "confirmed").await?;
    let confirmed_by = "select 'fulfilment ' || event_id || case event_type
                          when 'order_placed'
                          then ' stock-' || (data -> 'lines' -> 0 ->> 'product_id')
                          else ' order-' || (data ->> 'order_id') end
                        from log.event where event_type in ('order_placed', 'stock_reserved')";
    let followed = texts(&system, confirmed_by).await?;
    eventually("all of it is done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 2
            && system.number("select count(*) from alerts.alert").await? == 1
            && system.number("select count(*) from log.snapshot").await? == 1
            && system.number("select count(*) from log.lease").await? == 3
            && system.number("select count(*) from log.receipt where key like 'rej%'").await? == 1)
    })
    .await?;
    system.caught_up().await?;

    let receipts = texts(&system, "select key from log.receipt").await?;
    assert_holds(&receipts, &followed.iter().map(String::as_str).collect::<Vec<_>>());
    let operator = "00000000-0000-7000-8000-000000000000";
    assert_holds(
        &receipts,
        &[
            &format!("POST /api/v1/works {operator} key-1"),
            "nats commands.works.demand m-1",
            "rejected nats commands.works.demand m-2",
        ],
    );
    let answer = "select distinct m.key from log.receipt r,
                  json_each(case when r.key like 'POST %' then r.response::json end) m";
    assert_holds(&texts(&system, answer).await?, &["status", "location", "version", "body"]);
    let leases = texts(&system, "select name from log.lease").await?;
    assert_holds(&leases, &["alert_mqtt", "alert_watch", "presence"]);
    let snapshots = texts(&system, "select consumer || ' ' || key from log.snapshot").await?;
    assert_holds(&snapshots, &["alert_watch.v1 u~d"]);
    let actors = "select metadata->>'actor' from log.event where metadata->>'actor' is not null";
    assert_holds(&texts(&system, actors).await?, &[operator, "alert_watch", "fulfilment", "nats"]);
    let projections = [
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
    ];
    let consumers = texts(&system, "select consumer from log.checkpoint").await?;
    assert_holds(&consumers, &projections);
    assert_holds(&consumers, &["alert_mqtt", "alert_watch", "fulfilment", "relay"]);
    assert_holds(&consumers, &["order_deadlines"]);
    assert_holds(&texts(&system, "select nspname::text from pg_namespace").await?, &projections);
    let words = "select status from works.work union select status from order_list.purchase
                 union select event from order_list.history union select state from alerts.alert";
    let words = texts(&system, words).await?;
    assert_holds(&words, &["completed", "confirmed", "placed", "stock_reserved", "active"]);

    jetstream.get_stream("EVENTS").await?;
    let commands = jetstream.get_stream("COMMANDS").await?;
    let durable = commands.consumer_info("works-demand").await?;
    assert_eq!(durable.config.filter_subject, "commands.works.demand");
    assert_holds(&metrics(&system).await?, METRICS);
    Ok(())
}

/// Each metric with the names of its labels.
async fn metrics(system: &System) -> Result<BTreeSet<String>> {
    let text = system.get("/metrics").send().await?.text().await?;
    let metrics = text.lines().filter(|line| line.starts_with("tributary_")).map(|line| {
        let (series, _) = line.rsplit_once(' ').context("a value")?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
        Ok(format!("{name} {}", labels.collect::<Vec<_>>().join(",")).trim_end().to_owned())
    });
    metrics.collect()
}

const METRICS: &[&str] = &[
    "tributary_append_batch_events_bucket le",
    "tributary_append_batch_events_count",
    "tributary_append_batch_events_sum",
    "tributary_append_failing",
    "tributary_bridge_appended_total bridge",
    "tributary_bridge_connected bridge",
    "tributary_bridge_connects_total bridge",
    "tributary_bridge_duplicate_total bridge",
    "tributary_bridge_in_flight bridge",
    "tributary_bridge_qos0_total bridge",
    "tributary_bridge_received_total bridge",
    "tributary_bridge_refused_total bridge,reason",
    "tributary_bridge_rejected_total bridge",
    "tributary_bridge_retries_total bridge",
    "tributary_bridge_state bridge,state",
    "tributary_build_info version,commit",
    "tributary_clock_correction_seconds",
    "tributary_clock_skew_seconds",
    "tributary_database_acquire_seconds_bucket le",
    "tributary_database_acquire_seconds_count",
    "tributary_database_acquire_seconds_sum",
    "tributary_database_connections state",
    "tributary_database_connections_max",
    "tributary_events_appended_total",
    "tributary_http_request_seconds_bucket method,route,status,le",
    "tributary_http_request_seconds_count method,route,status",
    "tributary_http_request_seconds_sum method,route,status",
    "tributary_last_append_timestamp_seconds",
    "tributary_nats_connected",
    "tributary_postgres_up",
    "tributary_projection_events_behind projection",
    "tributary_projection_events_per_second projection",
    "tributary_projection_heartbeat_age_seconds projection",
    "tributary_projection_parked projection",
    "tributary_projection_position projection",
    "tributary_projection_seconds_behind projection",
    "tributary_projection_state projection,state",
    "tributary_relay_position",
    "tributary_relay_published_total",
    "tributary_works_attempts_total outcome",
    "tributary_works_demands_total outcome",
];

/// What only failures show: it has to stand in the source as it is, as a text of its own.
const IN_THE_SOURCE: &[&str] = &[
    // Metrics, their labels and the values of these.
    "tributary_parked_total",
    "tributary_certificate_expiry_timestamp_seconds",
    "tributary_presence_decisions_total",
    "tributary_intake_paused",
    "tributary_relay_errors_total",
    "tributary_relay_rewinds_total",
    "projection",
    "outcome",
    "accepted",
    "rejected",
    "put_back",
    "completed",
    "failed",
    "not_ours",
    "interrupted",
    "heard",
    "inactive",
    "said_before",
    "overtaken",
    // Codes of problems that are not rejections of a decider.
    "bad_data",
    "bad_request",
    "body_too_large",
    "busy",
    "conflict",
    "contention",
    "database_unavailable",
    "disk_full",
    "idempotency_key_reused",
    "intake_paused",
    "internal_error",
    "invalid_body",
    "invalid_credentials",
    "invalid_parameter",
    "invalid_rules",
    "malformed_json",
    "method_not_allowed",
    "not_found",
    "not_ready",
    "overloaded",
    "precondition_failed",
    "projection_behind",
    "read_model_of_another_build",
    "read_model_replaced",
    "retry_under_way",
    "session_ended",
    "shutting_down",
    "time_out_of_range",
    "timeout",
    "too_many_names",
    "too_many_requests",
    "too_many_streams",
    "tributary_http_refused_total",
    "unsupported_media_type",
    "wrong_password",
    // Headers of requests and answers.
    "idempotency-key",
    "tributary-min-position",
    "tributary-position",
    "x-accel-buffering",
    // Names of the dependencies that readiness reports.
    "postgres",
    "nats",
    "mqtt",
    // A metric that appears only after a failure.
    "tributary_consumer_restarts_total",
    // Topics of `tributary agent`.
    "test/topic",
    "test/topic/echo",
    // Variables of `dev.env`.
    "TRIBUTARY_URL",
    "TRIBUTARY_TOKEN",
    "TRIBUTARY_EMAIL",
    "TRIBUTARY_PASSWORD",
    "DATABASE_URL",
    "NATS_URL",
    "MQTT_URL",
    // Actor of events that `tributary dev` makes.
    "dev",
];

#[test]
fn words_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above");
    let mut text = String::new();
    for folder in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let source = folder.path().join("src");
        if !["tests", "target"].iter().any(|other| folder.file_name() == *other) {
            read(&source, &mut text);
        }
    }
    let lost: Vec<_> =
        IN_THE_SOURCE.iter().filter(|word| !text.contains(&format!("\"{word}\""))).collect();
    assert!(lost.is_empty(), "these are said otherwise now: {lost:?}");
}

/// All source below `path` but what is pinned in it, and tests in files of their own.
fn read(path: &Path, text: &mut String) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("pinned") || name.starts_with("tests") {
            continue;
        }
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}
