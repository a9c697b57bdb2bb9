//! `tributary tail`, and the stream of events over HTTP.

use std::process::Stdio;

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{DEADLINE, Options, System, eventually};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;

async fn demand(system: &System, count: usize) -> Result<()> {
    for _ in 0..count {
        let demand = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
        demand.error_for_status()?;
    }
    Ok(())
}

fn positions(lines: &str) -> Result<Vec<i64>> {
    let position = |line: &str| -> Result<i64> {
        let event: Value = serde_json::from_str(line)?;
        event["position"].as_i64().context("a position")
    };
    lines.lines().map(position).collect()
}

#[tokio::test]
async fn tail_catches_up_and_continues_without_gap_or_duplicate() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    demand(&system, 20).await?;
    let mut tail = tokio::process::Command::new(tests::tributary())
        .args(["tail", "--after", "3", "--limit", "37"])
        .envs(system.environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(tail.stdout.take().context("its stdout")?).lines();
    let mut seen = Vec::new();
    while seen.len() < 17 {
        let line = timeout(DEADLINE, lines.next_line()).await??.context("it goes on")?;
        seen.extend(positions(&line)?);
    }
    // It has caught up and follows new events.
    demand(&system, 20).await?;
    while let Some(line) = timeout(DEADLINE, lines.next_line()).await?? {
        seen.extend(positions(&line)?);
    }
    assert_eq!(seen, (4..=40).collect::<Vec<_>>());
    assert!(tail.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn tail_filters_events_and_shows_no_secret() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    demand(&system, 2).await?;
    let body =
        json!({"email": "a@example.org", "password": "correct horse battery", "full_name": "A"});
    system.post("/api/v1/users", &body).send().await?.error_for_status()?;
    demand(&system, 1).await?;
    let head = system.head().await?;
    let tail = system
        .run(&[
            "tail",
            "--after",
            "0",
            "--context",
            "users",
            "--type",
            "registered",
            "--limit",
            "1",
        ])
        .await?;
    let event: Value = serde_json::from_str(&tail)?;
    assert_eq!(event["type"], "registered");
    assert!(!tail.contains("argon2") && !tail.contains("password_hash"), "{tail}");
    let works = system.run(&["tail", "--after", "0", "--context", "works", "--limit", "3"]).await?;
    assert_eq!(positions(&works)?, [1, 2, head]);
    assert!(system.run(&["tail", "--context", "nonsense"]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_slow_subscriber_delays_no_other() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    demand(&system, 1).await?;
    let listen = |after: &str| {
        system.get("/api/v1/events/stream?context=works").header("Last-Event-ID", after).send()
    };
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(listen("0").await?.error_for_status()?);
    }
    let mut fast = listen("0").await?.error_for_status()?.bytes_stream();
    // More than the socket buffers hold.
    let pad = "x".repeat(200_000);
    for n in 0..30 {
        let document = json!({"n": n, "pad": pad});
        system.post("/data", &document).send().await?.error_for_status()?;
        demand(&system, 5).await?;
    }
    let mut text = String::new();
    let wanted = system.number("select max(position) from log.event where stream_id like 'work-%'");
    let last = format!("id: {}\n", wanted.await?);
    timeout(DEADLINE, async {
        while !text.contains(&last) {
            let chunk = fast.next().await.context("it goes on")?;
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok(())
    })
    .await??;
    let ids = text.lines().filter(|line| line.starts_with("id: ")).count();
    assert_eq!(ids, 151, "each once");
    assert!(!text.contains("document_recorded"), "only the requested context");
    system.caught_up().await?;
    // The slow subscriber has missed nothing.
    let mut late = slow.remove(0).bytes_stream();
    let mut text = String::new();
    timeout(DEADLINE, async {
        while !text.contains(&last) {
            let chunk = late.next().await.context("it goes on")?;
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(())
}

/// A running `tributary tail`, whose output the test reads at its own pace.
struct Tail {
    shown: Lines<BufReader<ChildStdout>>,
    said: Lines<BufReader<ChildStderr>>,
    _process: Child,
}

impl Tail {
    fn start(system: &System, after: &str) -> Result<Self> {
        let mut process = tokio::process::Command::new(tests::tributary())
            .args(["tail", "--after", after])
            .envs(system.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let shown = BufReader::new(process.stdout.take().context("its stdout")?).lines();
        let said = BufReader::new(process.stderr.take().context("its stderr")?).lines();
        Ok(Self { shown, said, _process: process })
    }

    /// Reads until position `last` is printed.
    async fn read(&mut self, seen: &mut Vec<i64>, last: i64) -> Result<()> {
        while seen.last().is_none_or(|position| *position < last) {
            let line = timeout(DEADLINE, self.shown.next_line()).await;
            let line = line.with_context(|| format!("nothing after {:?}", seen.last()))??;
            seen.extend(positions(&line.context("it goes on")?)?);
        }
        Ok(())
    }
}

async fn readings(system: &System, from: i64, count: i64) -> Result<()> {
    let reading = |n| json!({"user_id": "u", "device_id": "d", "sequence_id": n, "x": n});
    for first in (from..from + count).step_by(100) {
        let body = (first..first + 100).map(reading).collect::<Vec<_>>();
        system.post("/api/v1/telemetry", &json!(body)).send().await?.error_for_status()?;
    }
    Ok(())
}

#[tokio::test]
async fn tail_survives_restarts_of_the_server_and_of_postgres() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().context("its own")?;
    let mut process = system.serve(&["http"]).await?;
    readings(&system, 0, 2_000).await?;
    let mut live = Tail::start(&system, "0")?;
    let mut behind = Tail::start(&system, "0")?;
    let (mut seen, mut slow) = (Vec::new(), Vec::new());
    live.read(&mut seen, 2_000).await?;
    // The first event was read; the pipe is full.
    behind.read(&mut slow, 1).await?;

    // The server is killed and restarted.
    process = system.serve_after_kill(&["http"], &mut process).await?;
    readings(&system, 2_000, 100).await?;
    live.read(&mut seen, 2_100).await?;

    // Postgres is killed while one of them waits for events and the other is catching up.
    postgres.kill().await;
    let outage = async {
        loop {
            let line = timeout(DEADLINE, behind.said.next_line()).await??.context("it goes on")?;
            if line.contains("resumes after") {
                return anyhow::Ok(());
            }
        }
    };
    let reading = async {
        while let Some(line) = behind.shown.next_line().await? {
            slow.extend(positions(&line)?);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outage = outage => outage?,
        ended = reading => ended.and_then(|()| anyhow::bail!("it ended"))?,
    }
    anyhow::ensure!(slow.len() < 2_100, "it was in the middle");
    postgres.restart().await?;
    eventually("it takes readings again", async || Ok(readings(&system, 2_100, 100).await.is_ok()))
        .await?;
    let head = system.head().await?;
    live.read(&mut seen, head).await?;
    behind.read(&mut slow, head).await?;
    let all: Vec<i64> = (1..=head).collect();
    assert_eq!(seen, all, "the one that was live");
    assert_eq!(slow, all, "the one that was behind");
    system.postgres = Some(postgres);
    drop(process);
    Ok(())
}
