//! Rebuilds of read models: resumed, verified, and used for repair.

#![allow(clippy::print_stderr, reason = "what the command says helps when a test fails")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use eventsourcing::StreamId;
use eventsourcing::event::Encoded;
use eventstore::{Append, EventStore, ExpectedVersion, NewEvent, Tasks};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Process, System, eventually, tributary};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Runs `tributary ARGUMENTS`. Returns its exit code and the JSON of its stdout.
pub(crate) async fn run(system: &System, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = tokio::process::Command::new(tributary())
        .args(arguments)
        .envs(system.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .await?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default()))
}

/// Appends `count` works directly to the log, faster than over HTTP.
async fn demand(system: &System, count: usize) -> Result<()> {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(system.admin.clone(), &tasks, shutdown.clone());
    let mut left = count;
    while left > 0 {
        let many = left.min(1_000);
        let appends = (0..many).map(|_| {
            let data = r#"{"work_code":"api-many","add_up_to":4}"#;
            let encoded = Encoded {
                event_type: "work_demanded".into(),
                schema_version: 1,
                data: data.into(),
            };
            let event = NewEvent { id: Uuid::now_v7(), encoded };
            let stream = StreamId::new("work", Uuid::now_v7());
            store.append(Append::to(stream, ExpectedVersion::NoStream, vec![event]))
        });
        futures::future::try_join_all(appends).await?;
        left -= many;
    }
    shutdown.cancel();
    Ok(())
}

#[tokio::test]
async fn a_killed_rebuild_resumes() -> Result<()> {
    let system = System::start().await?;
    demand(&system, 60_000).await?;
    let killed = Process::start(&["rebuild", "works"], &system.environment)?;
    let reached = "select coalesce((select position from log.checkpoint
                                    where consumer = 'works__rebuild'), 0)";
    eventually("the rebuild has started", async || Ok(system.number(reached).await? > 0)).await?;
    killed.kill().await?;
    let (code, ended) = run(&system, &["rebuild", "works", "--json"]).await?;
    ensure!(code == Some(0), "{code:?}: {ended:#}");
    let resumed_at = ended[0]["resumed_at"].as_i64().context("a position")?;
    ensure!(resumed_at > 0 && resumed_at < 60_000, "{ended:#}");
    assert_eq!(ended[0]["events"], 60_000 - resumed_at, "no event twice");
    assert_eq!(system.number("select count(*) from works.work").await?, 60_000);
    let _process = system.serve(&["http", "projector"]).await?;
    system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from works.work").await?, 60_001);
    Ok(())
}

#[tokio::test]
async fn a_rebuild_may_be_killed_at_any_moment() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    demand(&system, 5_000).await?;
    system.caught_up().await?;
    let schema = "select 'works'::regnamespace::oid::bigint";
    let first = system.number(schema).await?;
    let mut replaced = 0;
    // Kills the rebuild later and later, in every phase, until three have been completed.
    let mut patience = Duration::from_millis(50);
    while replaced < 3 {
        let before = system.number(schema).await?;
        let mut rebuild = Process::start(&["rebuild", "works", "--verify"], &system.environment)?;
        let ended = timeout(patience, rebuild.exit_code()).await;
        if ended.is_ok() {
            replaced += 1;
        } else {
            rebuild.kill().await?;
        }
        patience += Duration::from_millis(50);
        demand(&system, 10).await?;
        system.caught_up().await?;
        let rows = system.number("select count(*) from works.work").await?;
        let demanded = "select count(*) from log.event where event_type = 'work_demanded'";
        assert_eq!(rows, system.number(demanded).await?, "after {patience:?}");
        if let Ok(code) = ended {
            assert_eq!(code?, Some(0));
            assert_ne!(system.number(schema).await?, before);
        }
    }
    assert_ne!(system.number(schema).await?, first);
    let (code, ended) = run(&system, &["rebuild", "works", "--verify", "--json"]).await?;
    assert_eq!(code, Some(0), "{ended:#}");
    let left = "select count(*) from pg_namespace where nspname like '%\\_\\_%'";
    assert_eq!(system.number(left).await?, 0, "no shadow schema is left");
    Ok(())
}

#[tokio::test]
async fn a_row_that_was_altered_is_found_and_repaired() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    demand(&system, 50).await?;
    system.caught_up().await?;
    let altered = "select count(*) from works.work where add_up_to <> 4";
    let alter = "update works.work set add_up_to = 5 where id = (select max(id::text)::uuid from works.work)";
    sqlx::query(alter).execute(&system.admin).await?;
    let (code, ended) = run(&system, &["rebuild", "works", "--verify", "--json"]).await?;
    assert_eq!(code, Some(4), "{ended:#}");
    let difference = &ended[0]["differences"][0];
    assert_eq!(difference["table"], "work");
    assert_eq!((&difference["only_live"], &difference["only_rebuilt"]), (&json!(1), &json!(1)));
    ensure!(difference["live_examples"][0].as_str().is_some_and(|row| row.contains("api-many")));
    assert_eq!(system.number(altered).await?, 1, "the live row is unchanged");
    // A long-running reader neither delays the rebuild nor loses its table.
    let mut reading = system.admin.begin().await?;
    sqlx::query("lock table works.work in access share mode").execute(&mut *reading).await?;
    let (code, ended) = run(&system, &["rebuild", "works", "--json"]).await?;
    assert_eq!(code, Some(0), "{ended:#}");
    assert_eq!(system.number(altered).await?, 0, "it is repaired");
    sqlx::query("select count(*) from works__old.work").execute(&mut *reading).await?;
    reading.rollback().await?;

    // A migration rebuilds a model of another version in a shadow schema.
    let outdate = "comment on schema works is 'version 0'";
    sqlx::query(outdate).execute(&system.admin).await?;
    sqlx::query("delete from works.work").execute(&system.admin).await?;
    system.run(&["migrate"]).await?;
    assert_eq!(system.number("select count(*) from works.work").await?, 50);
    let says: String =
        sqlx::query_scalar("select obj_description('works'::regnamespace, 'pg_namespace')")
            .fetch_one(&system.admin)
            .await?;
    assert_eq!(says, "version 2");
    let left = "select count(*) from pg_namespace where nspname like '%\\_\\_%'";
    assert_eq!(system.number(left).await?, 0, "no shadow schema is left");
    system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from works.work").await?, 51);
    Ok(())
}

/// Appends an event of a work, which need not be decodable.
async fn append(system: &System, id: &str, event_type: &str, data: &str) -> Result<()> {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(system.admin.clone(), &tasks, shutdown.clone());
    let encoded =
        Encoded { event_type: event_type.to_owned().into(), schema_version: 1, data: data.into() };
    let event = NewEvent { id: Uuid::now_v7(), encoded };
    store.append(Append::to(StreamId::new("work", id), ExpectedVersion::Any, vec![event])).await?;
    shutdown.cancel();
    Ok(())
}

/// Creates a work that the projection parks at its second event. Returns its id.
pub(crate) async fn parked_work(system: &System) -> Result<String> {
    let works = system.caller(system.token.clone());
    let work = works.command(Method::POST, "/api/v1/works", &json!({})).await?;
    let id = work["id"].as_str().context("an id")?;
    append(system, id, "work_claimed", r#"{"worker": 7}"#).await?;
    system.caught_up().await?;
    Ok(id.to_owned())
}

/// Makes that event decodable, as for a fixed version.
pub(crate) async fn mend(system: &System) -> Result<()> {
    let mend = r#"update log.event set data = '{"worker": "w", "attempt": 1, "lease_until": "2026-01-01T00:00:30Z"}'
                  where event_type = 'work_claimed'"#;
    sqlx::query(mend).execute(&system.admin).await?;
    Ok(())
}

#[tokio::test]
async fn a_rebuild_retries_parked_streams() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // An event is altered.
    let _process = system.serve(&["http", "projector"]).await?;
    let works = system.caller(system.token.clone());
    let id = parked_work(&system).await?;
    let parked = "select count(*) from log.parked where parked and consumer = 'works'";
    assert_eq!(system.number(parked).await?, 1);
    let (code, ended) = run(&system, &["rebuild", "works", "--verify", "--json"]).await?;
    assert_eq!((code, &ended[0]["parked"]), (Some(0), &json!(1)), "{ended:#}");
    assert_eq!(system.number(parked).await?, 1, "the rebuilt model cannot decode it either");
    assert_eq!(system.number("select count(*) from log.parked").await?, 1);

    mend(&system).await?;
    let (code, ended) = run(&system, &["rebuild", "works", "--json"]).await?;
    assert_eq!((code, &ended[0]["parked"]), (Some(0), &json!(0)), "{ended:#}");
    assert_eq!(system.number(parked).await?, 0);
    assert_eq!(works.json(&format!("/api/v1/works/{id}")).await?["status"], "claimed");
    // The running projection applies the next event of the stream at once.
    append(&system, &id, "work_started", r#"{"attempt": 1}"#).await?;
    system.caught_up().await?;
    assert_eq!(works.json(&format!("/api/v1/works/{id}")).await?["status"], "started");
    Ok(())
}

#[tokio::test]
async fn a_rebuild_is_started_over_http() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    demand(&system, 100).await?;
    system.caught_up().await?;
    let oid = "select 'works'::regnamespace::oid::bigint";
    let before = system.number(oid).await?;
    let path = "/api/v1/projections/works/rebuild";

    // Another rebuild is running.
    let mut other = system.admin.acquire().await?;
    sqlx::query("select pg_advisory_lock(1919246950, hashtext('works'))")
        .execute(&mut *other)
        .await?;
    let refused = system.post(path, &Value::Null).send().await?;
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.json::<Value>().await?["code"], "rebuild_is_running");
    assert_eq!(system.json("/api/v1/projections/works").await?["state"], "rebuilding");
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut *other).await?;

    let begun = system.post(path, &Value::Null).send().await?;
    assert_eq!(begun.status(), 202);
    let location = begun.headers()["location"].to_str()?.to_owned();
    eventually("the schemas are swapped", async || Ok(system.number(oid).await? != before)).await?;
    eventually("it is done", async || Ok(system.json(&location).await?["state"] == "live")).await?;
    assert_eq!(system.number("select count(*) from works.work").await?, 100);
    let unknown = system.post("/api/v1/projections/nothing/rebuild", &Value::Null).send().await?;
    assert_eq!(unknown.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_read_model_of_another_shape_costs_one_answer_and_no_server_error() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let devices = async || {
        let answer = system.get("/api/v1/devices").send().await?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await?;
        anyhow::Ok((status, body["code"].clone()))
    };
    let alter = async |change: &str| {
        let change = format!("alter table telemetry.device {change}");
        sqlx::query(&change).execute(&system.admin).await
    };
    let replaced = (503, json!("read_model_replaced"));
    // Every connection of the pool has prepared the statement.
    for _ in 0..40 {
        assert_eq!(devices().await?.0, 200);
    }
    // As the rebuild of a newer build does.
    alter("add column added integer").await?;
    assert_eq!(devices().await?, replaced);
    for _ in 0..40 {
        assert_eq!(devices().await?.0, 200, "no connection has the old statement");
    }
    alter("rename column user_id to owner").await?;
    assert_eq!(devices().await?, (503, json!("read_model_of_another_build")));
    alter("rename column owner to user_id").await?;
    eventually("the queries succeed", async || Ok(devices().await?.0 == 200)).await?;
    alter("drop column added").await?;
    Ok(())
}
