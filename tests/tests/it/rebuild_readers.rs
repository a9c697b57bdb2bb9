//! Rebuilds of all read models under load, one of them killed: readers see no gap.

#![allow(clippy::print_stderr, reason = "what was seen helps when a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use eventsourcing::StreamId;
use eventsourcing::event::Encoded;
use eventstore::{Append, EventStore, ExpectedVersion, NewEvent, Tasks};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use tests::{Caller, Process, System, eventually, from_environment};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rebuild::run;
use crate::waiting::{QUERIES, write_and_read};

/// Interval between two reads of a reader.
const READ_INTERVAL: Duration = Duration::from_millis(1);
/// Rounds of further events before the rebuild.
const ROUNDS: usize = 10;
/// Readings of one device in one append, while the log is filled.
const READINGS: usize = 50;

/// Appends directly to the log, faster than over HTTP: readings of ninety devices, and one event of
/// each of some other contexts.
async fn fill(system: &System, events: usize) -> Result<()> {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(system.admin.clone(), &tasks, shutdown.clone());
    let event = |event_type: &str, data: String| {
        let encoded = Encoded {
            event_type: event_type.to_owned().into(),
            schema_version: 1,
            data: data.into(),
        };
        NewEvent { id: Uuid::now_v7(), encoded }
    };
    let golden = [
        (
            StreamId::new("host", "web-1.example.org"),
            "host_sampled",
            include_str!("../../../domain/golden/host/host_sampled.v1.json"),
        ),
        (
            StreamId::new("alert", Uuid::now_v7()),
            "alert_raised",
            include_str!("../../../domain/golden/alerts/alert_raised.v1.json"),
        ),
        (
            StreamId::new("user", Uuid::now_v7()),
            "registered",
            include_str!("../../../domain/golden/users/registered.v1.json"),
        ),
    ];
    for (stream, event_type, data) in golden {
        let events = vec![event(event_type, data.trim().to_owned())];
        store.append(Append::to(stream, ExpectedVersion::NoStream, events)).await?;
    }
    let appends = (0..events / READINGS).map(|request| {
        let (user, device) = (request % 30, request / 30 % 3);
        let first = request / 90 * READINGS;
        let readings = (first..first + READINGS).map(|n| {
            let time = chrono::DateTime::from_timestamp(1_767_225_600 + i64::try_from(n).unwrap_or(0), 0);
            let data = json!({"user_id": format!("user_{user}"), "device_id": format!("dev_{device}"),
                              "sequence_id": n, "time": time, "temperature": 21.5, "battery": 87,
                              "extra_data": {"load": n}});
            event("reading_recorded", data.to_string())
        });
        let stream = StreamId::new("device", format_args!("user_{user}~dev_{device}"));
        store.append(Append::to(stream, ExpectedVersion::Any, readings.collect()))
    });
    stream::iter(appends).buffer_unordered(32).try_collect::<Vec<_>>().await?;
    shutdown.cancel();
    Ok(())
}

/// Sends a few commands of most contexts.
async fn some_load(system: &System, round: usize) -> Result<()> {
    let owner = system.caller(system.token.clone());
    let readings: Vec<_> = (0..100)
        .map(|n| {
            json!({"user_id": "u", "device_id": format!("d{}", n % 7), "temperature": 20.5,
                   "sequence_id": round * 100 + n, "load": n})
        })
        .collect();
    let send = async |path: &str, body: Value| -> Result<Value> {
        let request = owner.request(Method::POST, path).json(&body);
        Ok(request.send().await?.error_for_status()?.json().await.unwrap_or_default())
    };
    send("/api/v1/telemetry", json!(readings)).await?;
    for n in 0..5 {
        send("/api/v1/works", json!({"add_up_to": n})).await?;
        send("/data", json!({"round": round, "n": n})).await?;
        send("/api/v1/page-views", json!({"path": format!("/{n}")})).await?;
    }
    send("/api/v1/projects", json!({"name": format!("P{round}")})).await?;
    let sku = Uuid::now_v7().to_string();
    let product = json!({"sku": sku, "name": "N", "price": "1.50", "currency": "EUR"});
    let product = send("/api/v1/products", product).await?;
    let lines = json!([{"product_id": product["id"], "quantity": 1}]);
    send("/api/v1/orders", json!({"items": lines})).await?;
    Ok(())
}

/// State shared by the readers.
#[derive(Debug, Clone, Default)]
struct Watch {
    over: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
}

/// Queries one read model until `over`; fails if a request fails or the model shrinks.
async fn read(caller: Caller, path: String, watch: Watch) -> Result<()> {
    let (mut position, mut items) = (0_i64, 0);
    while !watch.over.load(Ordering::Relaxed) {
        let answer = caller.get(&path).send().await?;
        let status = answer.status();
        let at = answer.headers().get("tributary-position").cloned();
        let body = answer.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {body}");
        if let Some(at) = at {
            let at: i64 = at.to_str()?.parse()?;
            ensure!(at >= position, "{path}: at {at} after {position}");
            position = at;
        }
        let body: Value = serde_json::from_str(&body)?;
        let found = body["items"].as_array().map_or(1, Vec::len);
        ensure!(found >= items, "{path}: {found} items after {items}");
        items = found;
        watch.reads.fetch_add(1, Ordering::Relaxed);
        sleep(READ_INTERVAL).await;
    }
    ensure!(items > 0, "{path}: there was nothing to see");
    Ok(())
}

/// Does the same on a database connection with one prepared statement.
async fn count(mut connection: PgConnection, what: &'static str, watch: Watch) -> Result<()> {
    let (sql, mut before) = (format!("select {what} where $1"), 0_i64);
    while !watch.over.load(Ordering::Relaxed) {
        let found: i64 =
            sqlx::query_scalar(&sql).bind(true).fetch_one(&mut connection).await.context(what)?;
        ensure!(found >= before, "{what}: {found} after {before}");
        before = found;
        watch.reads.fetch_add(1, Ordering::Relaxed);
        sleep(READ_INTERVAL).await;
    }
    ensure!(before > 0, "{what}: there was nothing to see");
    Ok(())
}

/// Returns the definitions of all indexes of all read models.
async fn indexes(system: &System) -> Result<Vec<String>> {
    let indexes = sqlx::query_scalar(
        "select indexdef from pg_indexes where schemaname = any($1) order by schemaname, indexname",
    );
    Ok(indexes.bind(projections::names()).fetch_all(&system.admin).await?)
}

#[tokio::test]
async fn readers_see_no_gap_during_rebuilds() -> Result<()> {
    let events = from_environment("TRIBUTARY_REBUILD_EVENTS", 5_000)?;
    let system = Arc::new(System::start().await?);
    let _process = system.serve(&[]).await?;
    fill(&system, events).await?;
    for round in 0..ROUNDS {
        some_load(&system, round).await?;
    }
    system.caught_up().await?;
    let made = indexes(&system).await?;
    let watch = Watch::default();
    let mut readers = JoinSet::new();
    let further = ["/api/v1/users/u/devices/d1/readings", "/api/v1/tasks"];
    for path in QUERIES.iter().map(|(_, path)| *path).chain(further) {
        let path =
            if path.contains("events") { path.to_owned() } else { format!("{path}?limit=500") };
        if path.contains("tasks") {
            continue;
        }
        readers.spawn(read(system.caller(system.token.clone()), path, watch.clone()));
    }
    for what in [
        "coalesce(sum(readings), 0)::bigint from telemetry.device",
        "count(*) from works.work",
        "coalesce(sum(views), 0)::bigint from page_views.rollup",
    ] {
        let connection = system.admin.connect_options().connect().await?;
        readers.spawn(count(connection, what, watch.clone()));
    }
    let (loaded, still) = (Arc::clone(&system), watch.clone());
    let mut load = JoinSet::new();
    load.spawn(async move {
        let mut round = ROUNDS;
        while !still.over.load(Ordering::Relaxed) {
            some_load(&loaded, round).await?;
            // A client reads its own write, also during the rebuild and the swap.
            write_and_read(&loaded, round).await?;
            round += 1;
        }
        anyhow::Ok(round)
    });

    let all = ["rebuild", "--all", "--verify", "--json"];
    let schema = "select 'telemetry'::regnamespace::oid::bigint";
    let before = system.number(schema).await?;
    let killed = Process::start(&all, &system.environment)?;
    let half = i64::try_from(events / 2)?;
    let reached = "select coalesce((select position from log.checkpoint
                                    where consumer = 'telemetry__rebuild'), 0)";
    eventually("the rebuild is half done or completed", async || {
        Ok(system.number(reached).await? >= half || system.number(schema).await? != before)
    })
    .await?;
    killed.kill().await?;
    let in_the_middle = system.number(reached).await? >= half;
    let (code, ended) = run(&system, &all).await?;
    ensure!(code == Some(0), "{code:?}: {ended:#}");
    let mut resumed = 0;
    for model in ended.as_array().context("a list")? {
        ensure!(model["replaced"] == true && model["parked"] == 0, "{model}");
        resumed = resumed.max(model["resumed_at"].as_i64().unwrap_or(0));
        eprintln!("{model}");
    }
    ensure!(resumed >= half || !in_the_middle, "resumed at {resumed}");
    watch.over.store(true, Ordering::Relaxed);
    let rounds = load.join_next().await.context("the load ran")???;
    while let Some(reader) = readers.join_next().await {
        reader??;
    }
    let reads = watch.reads.load(Ordering::Relaxed);
    eprintln!("{reads} reads, {rounds} rounds, killed in the middle: {in_the_middle}");
    system.caught_up().await?;
    let wanted = i64::try_from(events / READINGS * READINGS + rounds * 100)?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, wanted);
    assert_eq!(indexes(&system).await?, made, "the same indexes as before");
    let left = "select count(*) from pg_namespace where nspname like '%\\_\\_%'";
    assert_eq!(system.number(left).await?, 0, "no shadow schema is left");
    Ok(())
}
