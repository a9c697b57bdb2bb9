//! Faults of Postgres and of the network in front of it: each is named in the log, in `/readyz` and
//! in the response, and none stops appends for longer than its limit.

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tests::{Options, Process, System, eventually};
use tokio::process::Command;

const LOCK_HEAD: &str = "begin; select 1 from log.head for update";
/// The session that holds the lock of the head while it waits for its process.
const HOLDER_WAITS: &str = "select count(*) from log.head h
    join pg_locks l on l.locktype = 'transactionid' and l.granted and l.transactionid = h.xmax
    join pg_stat_activity a on a.pid = l.pid and a.wait_event = 'ClientRead'";

/// Demands a work. Returns the status and the code of the problem, if it is one.
pub(crate) async fn demand(system: &System, url: &str) -> Result<(StatusCode, String)> {
    let request = system.http.post(format!("{url}/api/v1/works")).bearer_auth(&system.token);
    let response = request.json(&json!({"add_up_to": 4})).send().await?;
    let (status, body): (_, Value) = (response.status(), response.json().await?);
    Ok((status, body["code"].as_str().unwrap_or_default().to_owned()))
}

/// Returns the reason in `/readyz` why a dependency is down; none if it is up.
async fn reason(system: &System, name: &str) -> Result<Option<String>> {
    let ready: Value = system.get("/readyz").send().await?.json().await?;
    let dependencies = ready["dependencies"].as_array().context("dependencies")?;
    let found = dependencies.iter().find(|dependency| dependency["name"] == name);
    let found = found.with_context(|| format!("{name} in {ready}"))?;
    ensure!((found["status"] == "down") == found["reason"].is_string(), "{found}");
    Ok(found["reason"].as_str().map(str::to_owned))
}

/// Waits until a dependency is down with a reason that contains `text`.
pub(crate) async fn down(system: &System, name: &str, text: &str) -> Result<()> {
    eventually(&format!("{name} is down: {text}"), async || {
        Ok(reason(system, name).await?.is_some_and(|reason| reason.contains(text)))
    })
    .await
}

/// Waits until `/readyz` succeeds.
pub(crate) async fn ready(system: &System) -> Result<()> {
    eventually("the process is ready", async || {
        Ok(system.get("/readyz").send().await?.status() == StatusCode::OK)
    })
    .await
}

async fn signal(name: &str, pid: u32) -> Result<()> {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().await?;
    ensure!(sent.success(), "kill {name} {pid}: {sent}");
    Ok(())
}

#[tokio::test]
async fn a_session_that_holds_the_head_is_named_in_readyz() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve(&["http"]).await?;
    ready(&system).await?;
    let mut holder = system.admin.acquire().await?;
    holder.execute(LOCK_HEAD).await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *holder).await?;
    let refused = demand(&system, &system.url()).await?;
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable".into()));
    let named = format!("the session with pid {pid} of role `postgres`");
    down(&system, "postgres", &named).await?;
    assert_eq!(system.get("/readyz").send().await?.status(), StatusCode::SERVICE_UNAVAILABLE);
    process.logs(&named).await?;
    holder.execute("rollback").await?;
    ready(&system).await?; // No request appends meanwhile.
    assert_eq!(demand(&system, &system.url()).await?.0, StatusCode::ACCEPTED);
    let health = system.json("/readyz").await?;
    ensure!(health["last_append_at"].is_string(), "{health}");
    Ok(())
}

#[tokio::test]
async fn a_process_that_stops_inside_a_batch_does_not_stop_the_others() -> Result<()> {
    let system = System::start().await?;
    let _other = system.serve(&["http"]).await?;
    let mut stopping = system.serve_with(&["http"], &[("PORT", "0")]).await?;
    let url = format!("http://127.0.0.1:{}", stopping.http_port().await?);
    let appending = join_all((0..8).map(|_| async {
        loop {
            // Fails while the process is stopped, and when its session is ended.
            drop(demand(&system, &url).await);
        }
    }));
    let inside = eventually("the process stops inside a batch", async || {
        signal("-STOP", stopping.pid()).await?;
        if system.number(HOLDER_WAITS).await? > 0 {
            return Ok(true);
        }
        signal("-CONT", stopping.pid()).await?;
        Ok(false)
    });
    tokio::select! {
        inside = inside => inside?,
        _ = appending => {}
    }
    assert_eq!(demand(&system, &system.url()).await?.0, StatusCode::ACCEPTED);
    signal("-CONT", stopping.pid()).await?;
    eventually("the stopped process appends again", async || {
        Ok(demand(&system, &url).await?.0 == StatusCode::ACCEPTED)
    })
    .await
}

/// Postgres ends no session that is idle inside a COPY.
#[tokio::test]
async fn a_process_that_stops_inside_a_copy_does_not_stop_the_others() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve(&["http"]).await?;
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let mut stopped = PgConnection::connect(&url.context("it is set")?.1).await?;
    stopped.execute(LOCK_HEAD).await?;
    let copy = stopped.copy_in_raw("copy log.event from stdin (format binary)").await?;
    assert_eq!(demand(&system, &system.url()).await?.0, StatusCode::ACCEPTED);
    process.logs("ended a session that stopped inside a batch").await?;
    drop(copy);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_has_a_code_of_its_own_and_one_line_in_the_log() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve(&["http"]).await?;
    ready(&system).await?;
    // What Postgres answers if the file system is full.
    system
        .admin
        .execute(
            "create function disk_is_full() returns trigger language plpgsql as $$
             begin raise exception 'could not extend file' using errcode = '53100'; end $$;
             create trigger disk_is_full before insert on log.event execute function disk_is_full();
             create trigger disk_is_full before insert on log.receipt execute function disk_is_full()",
        )
        .await?;
    for _ in 0..20 {
        let refused = demand(&system, &system.url()).await?;
        assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, "disk_full".into()));
    }
    down(&system, "postgres", "the disk of Postgres is full").await?;
    system
        .admin
        .execute("drop trigger disk_is_full on log.event; drop trigger disk_is_full on log.receipt")
        .await?;
    ready(&system).await?;
    process.logs("appender recovered").await?;
    process.logs("Postgres available again").await?;
    let log = process.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("appender failed to commit a batch"), 1, "{log}");
    assert!(lines("the disk of Postgres is full") <= 2, "{log}");
    let recovered = log.lines().find(|line| line.contains("appender recovered"));
    assert!(recovered.is_some_and(|line| line.contains("requests=20")), "{log}");
    Ok(())
}

/// Each fault of the connection, the sentence that names it, and what ends it.
#[tokio::test]
async fn each_fault_of_the_connection_is_named_at_start_and_in_readyz() -> Result<()> {
    let system = System::start().await?;
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let url = url.context("it is set")?.1.clone();
    let (server, _) = url.rsplit_once('/').context("a database")?;
    let (_, address) = server.split_once('@').context("a role")?;
    let free = devservers::testing::free_port()?;
    system.admin.execute("create database empty_one").await?;
    for (url, reason) in [
        (format!("postgres://tributary_app@127.0.0.1:{free}/x"), "refused the connection"),
        (format!("{server}/no_such_database"), "the database does not exist"),
        (format!("postgres://no_such_role@{address}/postgres"), "refused the role"),
        (format!("{server}/empty_one"), "run `tributary migrate`"),
    ] {
        let more = [("DATABASE_URL", url.as_str()), ("PORT", "0")];
        let mut process = system.serve_with(&["http"], &more).await?;
        process.logs("Postgres unavailable, retrying").await?;
        process.logs(reason).await?;
        let url = format!("http://127.0.0.1:{}/readyz", process.http_port().await?);
        eventually(&format!("/readyz names it: {reason}"), async || {
            let response = system.http.get(&url).send().await?;
            ensure!(response.status() == StatusCode::SERVICE_UNAVAILABLE, "{}", response.status());
            let body: Value = response.json().await?;
            Ok(body["dependencies"][0]["reason"].as_str().is_some_and(|it| it.contains(reason)))
        })
        .await?;
        process.kill().await?;
    }
    system.admin.execute("drop database empty_one with (force)").await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_named() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let postgres = system.postgres.as_ref().context("its own")?;
    let (port, rules) = (postgres.port(), postgres.directory().join("cluster/pg_hba.conf"));
    system.admin.execute("alter role tributary_app password 'right'").await?;
    let trusted = std::fs::read_to_string(&rules)?;
    std::fs::write(&rules, format!("host all tributary_app all scram-sha-256\n{trusted}"))?;
    system.admin.execute("select pg_reload_conf()").await?;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    let with =
        |password| format!("postgres://tributary_app:{password}@127.0.0.1:{port}/{database}");
    let mut process = system.serve_with(&["http"], &[("DATABASE_URL", &with("wrong"))]).await?;
    process.logs("Postgres refused the role or its password").await?;
    down(&system, "postgres", "Postgres refused the role or its password").await?;
    system.admin.execute("alter role tributary_app password 'wrong'").await?;
    ready(&system).await?;
    let set = system.environment.iter_mut().find(|(name, _)| name == "DATABASE_URL");
    set.context("it is set")?.1 = with("wrong");
    Ok(())
}

#[tokio::test]
async fn readyz_notices_a_nats_server_that_is_stopped() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let up = async || Ok(reason(&system, "nats").await?.is_none());
    eventually("NATS is up", up).await?;
    signal("-STOP", system.nats.pid()).await?;
    down(&system, "nats", "NATS has not answered").await?;
    assert_eq!(system.get("/readyz").send().await?.status(), StatusCode::OK, "it is not required");
    signal("-CONT", system.nats.pid()).await?;
    eventually("NATS is up again", up).await
}

/// Runs a process behind a `PgBouncer` of this mode.
async fn behind_pgbouncer(
    system: &System,
    pool_mode: &'static str,
) -> Result<devservers::Pgbouncer> {
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let server: PgConnectOptions = url.context("it is set")?.1.parse()?;
    let options = devservers::pgbouncer::Options {
        postgres_port: server.get_port(),
        pool_mode,
        roles: vec!["tributary_app".into(), "postgres".into()],
    };
    Ok(devservers::Pgbouncer::start(&system.folder.join("pgbouncer"), options).await?)
}

#[tokio::test]
async fn session_pooling_by_pgbouncer_works() -> Result<()> {
    let mut system = System::start().await?;
    let pooler = behind_pgbouncer(&system, "session").await?;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    for (name, url) in &mut system.environment {
        match name.as_str() {
            "DATABASE_URL" => *url = pooler.url(&database, "tributary_app"),
            "DATABASE_ADMIN_URL" => *url = pooler.url(&database, "postgres"),
            _ => {}
        }
    }
    system.run(&["migrate"]).await?;
    let _process = system.serve(&[]).await?;
    ready(&system).await?;
    for n in 0..20 {
        let work = system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?;
        assert_eq!(work.status(), StatusCode::ACCEPTED);
        let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": n, "x": n}]);
        system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    }
    eventually("all works are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 20)
    })
    .await?;
    system.caught_up().await?;
    system.run(&["verify"]).await?;
    system.run(&["rebuild", "works", "--verify"]).await?;
    ensure!(!system.run(&["lag"]).await?.contains("stalled"));
    Ok(())
}

#[tokio::test]
async fn transaction_pooling_by_pgbouncer_is_refused_at_start() -> Result<()> {
    let system = System::start().await?;
    let pooler = behind_pgbouncer(&system, "transaction").await?;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    let mut environment = system.environment.clone();
    environment.retain(|(name, _)| name != "DATABASE_URL");
    environment.push(("DATABASE_URL".into(), pooler.url(&database, "tributary_app")));
    let mut process = Process::start(&["serve"], &environment)?;
    process.logs("set its pool mode to `session`").await?;
    assert_eq!(process.exit_code().await?, Some(1));
    Ok(())
}
