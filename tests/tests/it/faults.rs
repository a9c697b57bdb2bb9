//! `kill -9` of everything, while load runs: nothing acknowledged is lost, nothing is double.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{Options, System, eventually};

/// Demands works over HTTP with a key each until it is told to stop; a demand that got no answer
/// is repeated with its key. Returns the ids that were acknowledged.
async fn demand_until(system: &System, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = json!({"add_up_to": n});
        let request =
            system.post("/api/v1/works", &body).header("Idempotency-Key", format!("k{n}"));
        match request.send().await {
            Ok(answer) if answer.status() == 202 => {
                let work: Value = answer.json().await?;
                acknowledged.push(work["id"].as_str().unwrap_or_default().to_owned());
                n += 1;
            }
            Ok(answer) => assert_eq!(answer.status(), 503, "either it is taken or it is not"),
            Err(_) => tokio::task::yield_now().await, // It was killed; it comes back.
        }
    }
    Ok(acknowledged)
}

/// Publishes readings in bursts until it is told to stop. Returns how many the broker took.
async fn publish_until(system: &System, stop: &AtomicBool) -> Result<i64> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let lines: String = (sent..sent + 200)
            .map(|n| format!("{{\"sequence_id\":{n},\"temperature\":1.5}}\n"))
            .collect();
        system.publish_lines("users/u/devices/d/telemetry", &lines).await?;
        sent += 200;
    }
    Ok(sent)
}

#[tokio::test]
async fn every_role_may_be_killed_under_load() -> Result<()> {
    let system = System::start().await?;
    let roles = ["mqtt", "http", "relay", "projector", "worker"];
    let mut processes = Vec::new();
    for role in roles {
        processes.push((role, system.serve(&[role]).await?));
    }
    let stop = AtomicBool::new(false);
    let kill_all = async {
        for _ in 0..2 {
            for (role, process) in &mut processes {
                let before = system.head().await?;
                eventually("there is load", async || Ok(system.head().await? > before + 100))
                    .await?;
                let fresh = system.serve_after_kill(role, process).await?;
                *process = fresh;
            }
        }
        let before = system.head().await?;
        eventually("it goes on", async || Ok(system.head().await? > before + 100)).await?;
        stop.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (acknowledged, sent, ()) =
        tokio::try_join!(demand_until(&system, &stop), publish_until(&system, &stop), kill_all)?;

    eventually("every reading is stored", async || {
        Ok(system.number("select count(*) from telemetry.reading").await? >= sent)
    })
    .await?;
    eventually("every work is done", async || {
        Ok(system.number("select count(*) from works.work where not done").await? == 0)
    })
    .await?;
    system.caught_up().await?;
    let readings =
        system.number("select count(distinct sequence_id) from telemetry.reading").await?;
    assert_eq!(
        (readings, system.number("select count(*) from telemetry.reading").await?),
        (sent, sent)
    );
    let works = system.number("select count(*) from works.work").await?;
    assert_eq!(works, i64::try_from(acknowledged.len())?, "each demand is one work");
    let completed =
        system.number("select count(*) from log.event where event_type = 'work_completed'").await?;
    assert_eq!(completed, works, "each work is done once");
    system.is_sound().await
}

#[tokio::test]
async fn postgres_may_be_away_for_a_while() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let process = system.serve(&[]).await?;
    system.publish_lines("users/u/devices/d/telemetry", "{\"sequence_id\":1}\n").await?;
    eventually("it is stored", async || Ok(system.bridge().await?.appended == 1)).await?;
    let resident = process.resident()?;

    let mut postgres = system.postgres.take().expect("this test has its own");
    postgres.kill().await;
    let lines: String = (2..=20_000).map(|n| format!("{{\"sequence_id\":{n}}}\n")).collect();
    system.publish_lines("users/u/devices/d/telemetry", &lines).await?;
    let answer = system.post("/api/v1/works", &json!({})).send().await?;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let ready = system.get("/readyz").send().await?;
    assert_eq!(ready.status(), 503);
    assert_eq!(system.bridge().await?.appended, 1, "nothing is acknowledged meanwhile");
    let grown = process.resident()?.saturating_sub(resident);
    assert!(grown < 64 << 20, "it grew by {grown} bytes");

    postgres.restart().await?;
    eventually("all are stored", async || {
        let books = system.bridge().await?;
        Ok(books.appended + books.duplicate >= 20_000 && books.in_flight == 0)
    })
    .await?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, 20_000);
    let answer = system.post("/api/v1/works", &json!({})).send().await?;
    assert_eq!(answer.status(), 202);
    system.is_sound().await
}

#[tokio::test]
async fn sigterm_finishes_what_was_taken() -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&[]).await?;
    let lines: String = (0..5_000).map(|n| format!("{{\"sequence_id\":{n}}}\n")).collect();
    system.publish_lines("users/u/devices/d/telemetry", &lines).await?;
    assert_eq!(process.terminate().await?, Some(0));
    let _process = system.serve(&[]).await?;
    eventually("the rest is delivered", async || {
        Ok(system.number("select count(*) from log.event").await? >= 5_000)
    })
    .await?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, 5_000);
    system.is_sound().await
}
