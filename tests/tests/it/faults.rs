//! `kill -9` of everything, and servers that stay away, while load runs: nothing acknowledged is
//! lost, nothing is double.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use devservers::{Mosquitto, mosquitto};
use serde_json::{Value, json};
use tests::{Options, Process, System, asked_for, eventually};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bus::read_from_the_beginning;

/// What a process may grow by while a server is away.
const MOST_GROWTH: u64 = 64 << 20;
/// Readings sent at once, and how often: less than the bridge takes when nothing is wrong.
const BURST: (i64, Duration) = (100, Duration::from_millis(50));

/// How long a server stays away: `TRIBUTARY_FAULT_SECONDS`, or five.
fn outage() -> Result<Duration> {
    Ok(Duration::from_secs(asked_for("TRIBUTARY_FAULT_SECONDS", 5)?))
}

/// Demands works over HTTP with a key each until it is told to stop; a demand that got no answer
/// is repeated with its key. Returns the ids that were acknowledged.
async fn demand_until(system: &System, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    let mut open = false; // Without an answer, a demand may or may not have become a work.
    while open || !stop.load(Ordering::Relaxed) {
        open = true;
        let body = json!({"add_up_to": n});
        let request =
            system.post("/api/v1/works", &body).header("Idempotency-Key", format!("k{n}"));
        match request.send().await {
            Ok(answer) if answer.status() == 202 => {
                let work: Value = answer.json().await?;
                acknowledged.push(work["id"].as_str().unwrap_or_default().to_owned());
                n += 1;
                open = false;
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
    let mut ticks = interval(BURST.1);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let lines: String = (sent..sent + BURST.0)
            .map(|n| format!("{{\"sequence_id\":{n},\"temperature\":1.5}}\n"))
            .collect();
        system.publish_lines("users/u/devices/d/telemetry", &lines).await?;
        sent += BURST.0;
    }
    Ok(sent)
}

/// Waits until load has been taken since now.
async fn goes_on(system: &System) -> Result<()> {
    let before = system.head().await?;
    eventually("there is load", async || Ok(system.head().await? > before + 100)).await
}

/// Runs `faults` under load. Then everything that was acknowledged is there, once.
async fn under_load(system: &System, faults: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let faults = async {
        goes_on(system).await?;
        faults().await?;
        goes_on(system).await?;
        stop.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (acknowledged, sent, ()) =
        tokio::try_join!(demand_until(system, &stop), publish_until(system, &stop), faults)?;

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

/// Its memory is bounded, whatever is away.
fn has_not_grown(process: &Process, before: u64) -> Result<()> {
    let grown = process.resident()?.saturating_sub(before);
    assert!(grown < MOST_GROWTH, "it grew by {grown} bytes");
    Ok(())
}

#[tokio::test]
async fn every_role_may_be_killed_under_load() -> Result<()> {
    let system = System::start().await?;
    let roles = ["mqtt", "http", "relay", "projector", "worker"];
    let mut processes = Vec::new();
    for role in roles {
        processes.push((role, system.serve(&[role]).await?));
    }
    under_load(&system, async || {
        for _ in 0..2 {
            for (role, process) in &mut processes {
                goes_on(&system).await?;
                let fresh = system.serve_after_kill(&[role], process).await?;
                *process = fresh;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_process_that_plays_all_roles_may_be_killed_under_load() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve(&[]).await?;
    under_load(&system, async || {
        for _ in 0..3 {
            process = system.serve_after_kill(&[], &mut process).await?;
            goes_on(&system).await?;
        }
        Ok(())
    })
    .await?;
    read_from_the_beginning(&system.nats, system.head().await?).await
}

#[tokio::test]
async fn nats_may_be_away_and_come_back_with_nothing() -> Result<()> {
    let system = System::start().await?;
    let mut nats = system.another_nats().await?;
    let process = system.serve_with(&[], &[("NATS_URL", &nats.url())]).await?;
    under_load(&system, async || {
        let resident = process.resident()?;
        nats.kill().await;
        let begun = Instant::now();
        while begun.elapsed() < outage()? {
            // Commands go on, and so do projections.
            goes_on(&system).await?;
            system.projected(Some(system.head().await?)).await?;
            has_not_grown(&process, resident)?;
        }
        nats.wipe_jetstream().await?;
        Ok(())
    })
    .await?;
    read_from_the_beginning(&nats, system.head().await?).await
}

#[tokio::test]
async fn postgres_may_be_away_for_a_while() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().expect("this test has its own");
    let process = system.serve(&[]).await?;
    under_load(&system, async || {
        let resident = process.resident()?;
        postgres.kill().await;
        let begun = Instant::now();
        let before = system.bridge().await?;
        eventually("every message at hand was tried in vain", async || {
            let books = system.bridge().await?;
            Ok(books.in_flight > 0 && books.retries >= before.retries + books.in_flight)
        })
        .await?;
        let settled = system.bridge().await?.settled();
        while begun.elapsed() < outage()? {
            let answer = system.post("/api/v1/works", &json!({})).send().await?;
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(system.get("/readyz").send().await?.status(), 503);
            let books = system.bridge().await?;
            assert_eq!(books.settled(), settled, "nothing is acknowledged meanwhile");
            assert_eq!(books.received, settled + books.in_flight);
            has_not_grown(&process, resident)?;
        }
        postgres.restart().await?;
        Ok(())
    })
    .await?;
    let books = system.bridge().await?;
    assert_eq!((books.received, books.in_flight), (books.settled(), 0));
    let answer = system.post("/api/v1/works", &json!({})).send().await?;
    assert_eq!(answer.status(), 202);
    Ok(())
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

/// Waits until a reading that was made after this call is visible, and less than half a second old:
/// then nothing waits in the broker, which hands on in order. An earlier reading would not show
/// that: it may have come before what was killed last.
async fn keeps_up(system: &System) -> Result<()> {
    let now = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
    let newest = "select coalesce(extract(epoch from max(time)) * 1000, 0)::bigint
                  from telemetry.device";
    let called = system.number(now).await?;
    eventually("a new reading is visible", async || {
        let newest = system.number(newest).await?;
        Ok(newest > called && system.number(now).await? - newest < 500)
    })
    .await
}

/// Every server and role on the way of a reading, one after the other, while `tributary load` counts
/// each message. The broker has its own part in it: what it had acknowledged when it died is only
/// safe because it was in the bridge's hands, or its socket, by then.
#[tokio::test]
async fn the_ledger_of_a_load_balances_whatever_is_killed() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().expect("this test has its own");
    let folder = system.folder.join("killed-mosquitto");
    let mut broker = Mosquitto::start(&folder, mosquitto::Options::default()).await?;
    let url = broker.url();
    system.environment.retain(|(name, _)| name != "MQTT_URL");
    system.environment.push(("MQTT_URL".into(), url));
    let roles: [&[&str]; 4] = [&["mqtt"], &["http"], &["projector"], &["relay", "worker"]];
    let mut processes = Vec::new();
    for roles in roles {
        processes.push((roles, system.serve(roles).await?));
    }
    let rate = if outage()? > Duration::from_secs(10) { "33.4" } else { "10" };
    let load = system.start_load(&["--users", "30", "--rate", rate, "--duration", "1h"])?;
    let begun = Instant::now();
    while begun.elapsed() < outage()? {
        for (roles, process) in &mut processes {
            keeps_up(&system).await?;
            *process = system.serve_after_kill(roles, process).await?;
        }
        keeps_up(&system).await?;
        broker.kill().await;
        broker.restart().await?;
        keeps_up(&system).await?;
        postgres.kill().await;
        postgres.restart().await?;
    }
    keeps_up(&system).await?;
    let report = load.end().await?;
    println!("{report:#}");
    for name in ["lost", "duplicated", "unacknowledged", "unknown"] {
        assert_eq!(report[name], 0, "{name} in {report:#}");
    }
    for name in ["sent", "acknowledged", "stored", "visible"] {
        assert_eq!(report[name], report["due"], "{name} in {report:#}");
    }
    assert!(report["troubles"].as_object().is_some_and(|it| !it.is_empty()), "nothing was felt");
    system.is_sound().await
}
