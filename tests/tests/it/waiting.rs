//! Reads with `Tributary-Min-Position` return data of that position or later, or name the
//! projection that is behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually, from_environment};

/// Concurrent clients that write and read.
const CLIENTS: usize = 32;

/// One query of each projection.
pub(crate) const QUERIES: &[(&str, &str)] = &[
    ("alerts", "/api/v1/alerts"),
    ("documents", "/data"),
    ("host", "/api/v1/host/samples"),
    ("order_list", "/api/v1/orders"),
    ("stock_level", "/api/v1/products"),
    ("page_views", "/api/v1/page-views/stats"),
    ("projects", "/api/v1/projects"),
    ("telemetry", "/api/v1/devices"),
    ("trace", "/api/v1/events/1/trace"),
    ("users", "/api/v1/users"),
    ("works", "/api/v1/works"),
];

/// Demands a work and reads it. Returns how long the read waited.
pub(crate) async fn write_and_read(system: &System, n: usize) -> Result<Duration> {
    let demand = json!({ "add_up_to": n });
    let answer = system.post("/api/v1/works", &demand).send().await?.error_for_status()?;
    let position = answer.headers()["tributary-position"].clone();
    let path = answer.headers()["location"].to_str()?.to_owned();
    let asked = Instant::now();
    let shown = system.get(&path).header("Tributary-Min-Position", position);
    let shown = shown.header("Prefer", "wait=20").send().await?;
    let waited = asked.elapsed();
    ensure!(shown.status() == 200, "{path}: {}", shown.status());
    let work: Value = shown.json().await?;
    ensure!(work["add_up_to"] == n, "{work}");
    Ok(waited)
}

#[tokio::test]
async fn a_client_reads_its_own_writes() -> Result<()> {
    let writes = from_environment("TRIBUTARY_WRITES", 2_000)?;
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let results = futures::stream::iter((0..writes).map(|n| write_and_read(&system, n)));
    let results: Vec<_> = results.buffer_unordered(CLIENTS).collect().await;
    let mut waits = results.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(waits.len(), writes);
    waits.sort_unstable();
    let (p50, p99) = (waits[writes / 2], waits[writes * 99 / 100]);
    println!("{writes} of {writes} saw their write; waited p50 {p50:?}, p99 {p99:?}");
    Ok(())
}

#[tokio::test]
async fn no_query_returns_data_older_than_its_minimum_position() -> Result<()> {
    let system = System::start().await?;
    let names: Vec<_> = QUERIES.iter().map(|(projection, _)| *projection).collect();
    assert_eq!(names, projections::names(), "each projection has a query here");
    let _front = system.serve(&["http"]).await?;
    // Most projections ignore this event.
    let demand = json!({"add_up_to": 1});
    let written = system.post("/api/v1/works", &demand).send().await?.error_for_status()?;
    let position = written.headers()["tributary-position"].to_str()?.to_owned();
    let ask = async |path: &str, patience: &str| -> Result<reqwest::Response> {
        let request = system.get(path).header("Tributary-Min-Position", &position);
        Ok(request.header("Prefer", format!("wait={patience}")).send().await?)
    };
    // Without a projector, each query names the projection that is behind.
    for (projection, path) in QUERIES {
        let behind = ask(path, "0").await?;
        assert_eq!(behind.status(), 503, "{path}");
        assert!(behind.headers().contains_key("retry-after"), "{path}");
        let problem: Value = behind.json().await?;
        assert_eq!(
            (&problem["code"], &problem["projection"]),
            (&json!("projection_behind"), &json!(projection)),
            "{path}"
        );
    }
    // Waiting queries are answered once a projector runs, also if their projection ignores the
    // event.
    let asked = QUERIES.iter().map(|(_, path)| ask(path, "20"));
    let asked = futures::future::join_all(asked);
    let (_process, answers) = tokio::join!(system.serve(&["projector"]), asked);
    for ((projection, path), answer) in QUERIES.iter().zip(answers) {
        let answer = answer?;
        assert_eq!(answer.status(), 200, "{projection} {path}");
        let shown: i64 = answer.headers()["tributary-position"].to_str()?.parse()?;
        assert!(shown >= position.parse()?, "{projection} shows {shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_parked_stream_delays_no_query() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // A stream stays parked.
    let _process = system.serve(&["http", "projector"]).await?;
    let admin = system.caller(system.token.clone());
    let work = admin.command(Method::POST, "/api/v1/works", &json!({"add_up_to": 1})).await?;
    let id = work["id"].as_str().context("an id")?;
    // An event that lacks its members.
    sqlx::query(
        "with next as (
           update log.head set position = position + 1 returning position)
         insert into log.event (position, version, recorded_at, event_id, schema_version,
                                event_type, stream_id, data, metadata, hash)
         select position, 2, now(), gen_random_uuid(), 1, 'work_claimed', 'work-' || $1, '{}',
                '{}', '\\x00' from next",
    )
    .bind(id)
    .execute(&system.admin)
    .await?;
    eventually("the stream is parked", async || {
        let sql = "select count(*) from log.parked where consumer = 'works' and parked";
        Ok(system.number(sql).await? == 1)
    })
    .await?;
    let waited = write_and_read(&system, 7).await?;
    println!("another work waited {waited:?}");
    let old = system.json(&format!("/api/v1/works/{id}")).await?;
    assert_eq!(old["status"], "demanded", "the state before the parked event");
    Ok(())
}
