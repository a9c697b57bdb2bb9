//! The log as it grows: `tributary tail`, and the stream of events over HTTP.

use std::process::Stdio;

use anyhow::{Context, Result};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{DEADLINE, System};
use tokio::io::{AsyncBufReadExt, BufReader};
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
async fn it_catches_up_and_goes_on_without_gap_or_double() -> Result<()> {
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
    // It has caught up, and is live.
    demand(&system, 20).await?;
    while let Some(line) = timeout(DEADLINE, lines.next_line()).await?? {
        seen.extend(positions(&line)?);
    }
    assert_eq!(seen, (4..=40).collect::<Vec<_>>());
    assert!(tail.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn it_shows_what_is_asked_for_and_no_secret() -> Result<()> {
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
async fn a_listener_that_does_not_read_holds_up_nobody() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    demand(&system, 1).await?;
    let listen = |after: &str| {
        system.get("/api/v1/events/stream?context=works").header("Last-Event-ID", after).send()
    };
    let mut deaf = Vec::new();
    for _ in 0..8 {
        deaf.push(listen("0").await?.error_for_status()?);
    }
    let mut hears = listen("0").await?.error_for_status()?.bytes_stream();
    // More than the sockets in between take.
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
            let chunk = hears.next().await.context("it goes on")?;
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok(())
    })
    .await??;
    let ids = text.lines().filter(|line| line.starts_with("id: ")).count();
    assert_eq!(ids, 151, "each once");
    assert!(!text.contains("document_recorded"), "only what was asked for");
    system.caught_up().await?;
    // One who did not read has missed nothing.
    let mut late = deaf.remove(0).bytes_stream();
    let mut text = String::new();
    timeout(DEADLINE, async {
        while !text.contains(&last) {
            let chunk = late.next().await.context("it goes on")?;
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok(())
    })
    .await??;
    system.is_sound().await
}
