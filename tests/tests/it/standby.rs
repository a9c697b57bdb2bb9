//! Standbys of Postgres: synchronous commits, queries from a standby, promotion.

use anyhow::{Context, Result, ensure};
use devservers::{Postgres, postgres, testing};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tests::{Options, System, eventually};
use tokio::process::Command;

use crate::postgres::{demand, down, ready};

/// Starts a standby of `primary`, by streaming replication.
async fn standby(primary: &Postgres) -> Result<Postgres> {
    let directory = testing::directory("standby")?;
    // Marks the directory as one of these servers, although it is not empty.
    std::fs::File::create(directory.join("tributary.lock"))?;
    let data = directory.join("cluster");
    let copied = Command::new(primary.program("pg_basebackup"))
        .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--host=127.0.0.1"])
        .args(["--username=postgres", &format!("--port={}", primary.port()), "--pgdata"])
        .arg(&data)
        .output()
        .await?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    // Servers of tests that run as root run as another user.
    let owner = format!("--reference={}", primary.directory().display());
    let owned = Command::new("chown").args(["-R", &owner]).arg(&data).status().await?;
    ensure!(owned.success(), "chown {}", data.display());
    let options = postgres::Options { durable: false, ..postgres::Options::default() };
    Ok(Postgres::start(&directory, options).await?)
}

async fn with_postgres() -> Result<System> {
    System::start_with(Options { own_postgres: true }).await
}

/// Returns the URL of the system's database on a standby.
async fn url_on(standby: &Postgres, system: &System) -> Result<String> {
    let sql = "select current_database()";
    let database: String = sqlx::query_scalar(sql).fetch_one(&system.admin).await?;
    Ok(standby.url(&database, "tributary_app"))
}

fn demand_once(system: &System, key: &str) -> RequestBuilder {
    system.post("/api/v1/works", &json!({"add_up_to": 4})).header("Idempotency-Key", key)
}

/// Recovery after a crash of the primary
/// makes visible what no standby has.
#[tokio::test]
async fn what_no_standby_has_is_not_acknowledged() -> Result<()> {
    let mut system = with_postgres().await?;
    let limits = [("DATABASE_STATEMENT_TIMEOUT", "1s")];
    let _process = system.serve_with(&["http"], &limits).await?;
    ready(&system).await?;
    // The appender is connected: a new connection would not get as far as an event.
    demand_once(&system, "before").send().await?.error_for_status()?;
    system.admin.execute("alter system set synchronous_standby_names = 'absent'").await?;
    system.admin.execute("select pg_reload_conf()").await?;
    eventually("commits wait for a standby", async || {
        let sql = "select count(*) from pg_settings
                   where name = 'synchronous_standby_names' and setting = 'absent'";
        Ok(system.number(sql).await? == 1)
    })
    .await?;
    let unacknowledged = async || -> Result<()> {
        let status = demand_once(&system, "once").send().await?.status();
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        Ok(())
    };
    unacknowledged().await?;
    down(&system, "postgres", "waits until a synchronous standby has its commit").await?;

    let mut server = system.postgres.take().context("its own")?;
    server.kill().await;
    server.restart().await?;
    system.postgres = Some(server);
    eventually("recovery has made the event visible", async || {
        Ok(system.number("select count(*) from log.event").await.is_ok_and(|events| events == 2))
    })
    .await?;
    let status = demand_once(&system, "once").send().await?.status();
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");

    system.admin.execute("alter system reset synchronous_standby_names").await?;
    system.admin.execute("select pg_reload_conf()").await?;
    ready(&system).await?;
    let status = demand_once(&system, "once").send().await?.status();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(system.head().await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_query_waits_until_the_standby_has_its_position() -> Result<()> {
    let system = with_postgres().await?;
    let standby = standby(system.postgres.as_ref().context("its own")?).await?;
    let url = url_on(&standby, &system).await?;
    let _process =
        system.serve_with(&["http", "projector"], &[("DATABASE_READ_URL", &url)]).await?;
    ready(&system).await?;
    let replay = sqlx::PgPool::connect(&standby.url("postgres", "postgres")).await?;
    replay.execute("select pg_wal_replay_pause()").await?;
    eventually("replay is paused", async || {
        let state = sqlx::query_scalar("select pg_get_wal_replay_pause_state()");
        let state: String = state.fetch_one(&replay).await?;
        Ok(state == "paused")
    })
    .await?;
    let accepted = demand_once(&system, "a").send().await?.error_for_status()?;
    let position = accepted.headers()["tributary-position"].to_str()?.to_owned();
    let work: Value = accepted.json().await?;
    let path = format!("/api/v1/works/{}", work["id"].as_str().context("an id")?);
    system.caught_up().await?; // The primary has it.
    assert_eq!(system.get(&path).send().await?.status(), StatusCode::NOT_FOUND);
    let at_position = |wait: &str| {
        let request = system.get(&path).header("Tributary-Min-Position", &position);
        request.header("Prefer", format!("wait={wait}"))
    };
    let behind = at_position("1").send().await?;
    assert_eq!(behind.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(behind.json::<Value>().await?["code"], "projection_behind");
    replay.execute("select pg_wal_replay_resume()").await?;
    let shown = at_position("20").send().await?;
    assert_eq!(shown.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted() -> Result<()> {
    let mut system = with_postgres().await?;
    let standby = standby(system.postgres.as_ref().context("its own")?).await?;
    let url = url_on(&standby, &system).await?;
    let _process = system.serve_with(&["http", "projector"], &[("DATABASE_URL", &url)]).await?;
    down(&system, "postgres", "Postgres is read-only: the URL points to a standby").await?;
    let refused = demand(&system, &system.url()).await?;
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable".into()));
    let mut primary = PgConnection::connect(&standby.url("postgres", "postgres")).await?;
    primary.execute("select pg_promote()").await?;
    ready(&system).await?;
    assert_eq!(demand(&system, &system.url()).await?.0, StatusCode::ACCEPTED);
    // The former primary has not got that event, and the check at the end reads it there.
    system.admin = sqlx::PgPool::connect(&url.replace("tributary_app@", "postgres@")).await?;
    for (name, value) in &mut system.environment {
        if name.starts_with("DATABASE_") {
            let role = if name == "DATABASE_URL" { "tributary_app@" } else { "postgres@" };
            *value = url.replace("tributary_app@", role);
        }
    }
    system.caught_up().await?;
    drop(system);
    Ok(())
}
