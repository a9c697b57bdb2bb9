//! What clients hold open, over real sockets: connections, event streams, waits and queries.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{DEADLINE, System, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

async fn connect(system: &System) -> Result<TcpStream> {
    Ok(TcpStream::connect(system.url().trim_start_matches("http://")).await?)
}

/// Reads until the server closes the connection.
async fn closed(mut connection: TcpStream) -> Result<String> {
    let mut read = Vec::new();
    let closing = timeout(DEADLINE, connection.read_to_end(&mut read));
    closing.await.context("the server has not closed the connection")??;
    Ok(String::from_utf8_lossy(&read).into_owned())
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_header_is_disconnected() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("HTTP_HEADER_TIMEOUT", "1s")]).await?;
    let mut slow = connect(&system).await?;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ").await?;
    assert!(!closed(slow).await?.contains("200 OK"));
    // Between two requests, too.
    let mut idle = connect(&system).await?;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    assert!(closed(idle).await?.starts_with("HTTP/1.1 200 OK"));
    Ok(())
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends_its_body() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let mut connection = connect(&system).await?;
    let body = vec![b' '; 200_000];
    // The first refusal leaves the connection open for the second request.
    for (path, then) in [("/api/v1/works", "keep-alive"), ("/api/v1/telemetry", "close")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: {then}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(&body).await?;
    }
    let answers = closed(connection).await?;
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 2, "{answers}");
    Ok(())
}

/// Returns the number of connections that this process may open next to other tests: half of its open
/// files, at most 1,000.
fn connections() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|limit| limit.split_whitespace().next()).context("a limit")?;
    Ok(soft.parse().unwrap_or(usize::MAX).min(2_000) / 2) // It may be `unlimited`.
}

#[tokio::test]
async fn a_thousand_idle_connections_delay_nobody_and_are_closed() -> Result<()> {
    let connections = connections()?;
    let system = System::start().await?;
    let process = system.serve_with(&["http"], &[("HTTP_HEADER_TIMEOUT", "3s")]).await?;
    let before = process.resident()?;
    let mut idle = Vec::new();
    for _ in 0..connections {
        idle.push(connect(&system).await?);
    }
    assert_eq!(system.get("/api/v1/works").send().await?.status(), 200);
    let growth = process.resident()?.saturating_sub(before);
    println!("{connections} idle connections take {} KiB", growth >> 10);
    assert!(growth < 64 << 20, "{growth} bytes more");
    for connection in idle {
        closed(connection).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_too_many_is_answered_with_503_and_closed() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("HTTP_CONNECTIONS", "2")]).await?;
    let held = [connect(&system).await?, connect(&system).await?];
    let refusal = closed(connect(&system).await?).await?;
    let (head, body) = refusal.split_once("\r\n\r\n").context("a header")?;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"), "{head}");
    let problem: Value = serde_json::from_str(body)?;
    assert_eq!(problem["code"], "too_many_connections");
    drop(held);
    eventually("the connections are free again", async || {
        let answer = system.get("/livez").send().await;
        Ok(answer.is_ok_and(|answer| answer.status() == 200))
    })
    .await
}

#[tokio::test]
async fn event_streams_are_limited_for_each_principal() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("HTTP_STREAMS", "2")]).await?;
    let other = system.caller(system.token_for("other", "operator").await?);
    let open = async || system.get("/api/v1/events/stream").send().await;
    let (first, _second) = (open().await?, open().await?);
    assert_eq!(first.status(), 200);
    let third = open().await?;
    assert_eq!(third.status(), 429);
    assert!(third.headers().contains_key("retry-after"));
    assert_eq!(third.json::<Value>().await?["code"], "too_many_streams");
    assert_eq!(other.get("/api/v1/events/stream").send().await?.status(), 200);
    drop(first);
    eventually("a stream is free again", async || Ok(open().await?.status() == 200)).await
}

#[tokio::test]
async fn requests_that_wait_hold_no_database_connection() -> Result<()> {
    const WAITING: usize = 40;
    let system = System::start().await?;
    // No projector, so the read models stay behind.
    let _process = system.serve_with(&["http"], &[("DATABASE_CONNECTIONS", "2")]).await?;
    let position =
        system.post("/api/v1/works", &json!({})).send().await?.headers()["tributary-position"]
            .clone();
    let mut waiting = JoinSet::new();
    for n in 0..WAITING {
        let request = if n % 2 == 0 {
            system.get("/api/v1/works").header("Tributary-Min-Position", &position)
        } else {
            system.post("/api/v1/works", &json!({"add_up_to": n}))
        };
        waiting.spawn(request.header("Prefer", "wait=20").send());
    }
    eventually("half of them are committed", async || {
        Ok(system.number("select count(*) from log.event").await? > i64::try_from(WAITING / 2)?)
    })
    .await?;
    for _ in 0..50 {
        assert_eq!(system.get("/api/v1/works").send().await?.status(), 200);
    }
    ensure!(waiting.try_join_next().is_none(), "the requests have not waited");
    waiting.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn one_client_cannot_hold_all_requests_in_progress() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("HTTP_REQUESTS", "4")]).await?;
    let other = system.caller(system.token_for("other", "user").await?);
    let mut waiting = JoinSet::new();
    for n in 0..2 {
        let request = system.post("/api/v1/works", &json!({"add_up_to": n}));
        waiting.spawn(request.header("Prefer", "wait=20").send());
    }
    eventually("both are committed", async || {
        Ok(system.number("select count(*) from log.event").await? == 2)
    })
    .await?;
    let third = system.get("/api/v1/works").send().await?;
    assert_eq!(third.status(), 429);
    assert!(third.headers().contains_key("retry-after"));
    assert_eq!(other.get("/api/v1/works").send().await?.status(), 200);
    waiting.shutdown().await; // The client disconnects.
    eventually("its requests have ended", async || {
        Ok(system.get("/api/v1/works").send().await?.status() == 200)
    })
    .await
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_query() -> Result<()> {
    const CONNECTIONS: i64 = 2;
    let system = System::start().await?;
    let connections = [("DATABASE_CONNECTIONS", "2")];
    let _process = system.serve_with(&["http", "projector"], &connections).await?;
    system.caught_up().await?;
    let mut lock = system.admin.begin().await?;
    sqlx::query("lock table works.work in access exclusive mode").execute(&mut *lock).await?;
    let mut queries = JoinSet::new();
    for _ in 0..CONNECTIONS {
        queries.spawn(system.get("/api/v1/works").send());
    }
    let blocked = "select count(*) from pg_locks
                   where relation = 'works.work'::regclass and not granted
                     and database = (select oid from pg_database where datname = current_database())";
    eventually("the queries wait for the lock", async || {
        Ok(system.number(blocked).await? >= CONNECTIONS)
    })
    .await?;
    queries.shutdown().await; // The client disconnects.
    eventually("another query is executed", async || {
        Ok(system.get("/data").send().await?.status() == 200)
    })
    .await?;
    lock.rollback().await?;
    Ok(())
}
