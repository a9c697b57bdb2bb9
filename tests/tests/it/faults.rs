//! `kill -9` of every server and process, and servers that are down for a while, under load:
//! nothing acknowledged is lost, nothing is duplicated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use devservers::{Mosquitto, mosquitto};
use serde_json::{Value, json};
use tests::{Options, Process, System, eventually, from_environment};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bus::read_from_the_beginning;

/// Limit of a process's growth in memory while a server is down, in bytes.
const MOST_GROWTH: u64 = 64 << 20;
/// Readings per burst, and the interval of bursts: below the capacity of the bridge.
const BURST: (i64, Duration) = (100, Duration::from_millis(50));

/// How long a server stays down: `TRIBUTARY_FAULT_SECONDS`, by default 5.
fn outage() -> Result<Duration> {
    Ok(Duration::from_secs(from_environment("TRIBUTARY_FAULT_SECONDS", 5)?))
}

/// Demands works over HTTP with an idempotency key each until `stop`; repeats a demand without a
/// response. Returns the ids of acknowledged works.
async fn demand_until(system: &System, stop: &AtomicBool) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    let mut open = false; // A demand without a response may or may not have become a work.
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
            Ok(answer) => assert_eq!(answer.status(), 503, "neither accepted nor unavailable"),
            Err(_) => tokio::task::yield_now().await, // The process was killed and is restarted.
        }
    }
    Ok(acknowledged)
}

/// Publishes readings in bursts until `stop`. Returns how many the broker acknowledged.
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

/// Waits until 100 further events are appended.
async fn load_continues(system: &System) -> Result<()> {
    let before = system.head().await?;
    eventually("events are appended", async || Ok(system.head().await? > before + 100)).await
}

/// Runs `faults` under load, then checks that everything acknowledged is stored once.
async fn under_load(system: &System, faults: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let faults = async {
        load_continues(system).await?;
        faults().await?;
        load_continues(system).await?;
        stop.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (acknowledged, sent, ()) =
        tokio::try_join!(demand_until(system, &stop), publish_until(system, &stop), faults)?;

    eventually("every reading is stored", async || {
        Ok(system.number("select count(*) from telemetry.reading").await? >= sent)
    })
    .await?;
    let demanded = i64::try_from(acknowledged.len())?;
    eventually("every work is done", async || {
        Ok(system.number("select count(*) from works.work where done").await? >= demanded)
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
    assert_eq!(works, demanded, "each demand is one work");
    let completed =
        system.number("select count(*) from log.event where event_type = 'work_completed'").await?;
    assert_eq!(completed, works, "each work is done once");
    Ok(())
}

/// Checks that the memory of a process is bounded.
fn has_not_grown(process: &Process, before: u64) -> Result<()> {
    let grown = process.resident()?.saturating_sub(before);
    assert!(grown < MOST_GROWTH, "the process grew by {grown} bytes");
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
                load_continues(&system).await?;
                let fresh = system.serve_after_kill(&[role], process).await?;
                *process = fresh;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_process_with_all_roles_may_be_killed_under_load() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve(&[]).await?;
    under_load(&system, async || {
        for _ in 0..3 {
            process = system.serve_after_kill(&[], &mut process).await?;
            load_continues(&system).await?;
        }
        Ok(())
    })
    .await?;
    read_from_the_beginning(&system.nats, system.head().await?).await
}

#[tokio::test]
async fn nats_may_be_down_and_lose_its_streams() -> Result<()> {
    let system = System::start().await?;
    let mut nats = system.another_nats().await?;
    let process = system.serve_with(&[], &[("NATS_URL", &nats.url())]).await?;
    under_load(&system, async || {
        let resident = process.resident()?;
        nats.kill().await;
        let begun = Instant::now();
        while begun.elapsed() < outage()? {
            // Commands and projections work without NATS.
            load_continues(&system).await?;
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
async fn postgres_may_be_down_under_load() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().expect("asked for in the options");
    let process = system.serve(&[]).await?;
    under_load(&system, async || {
        let resident = process.resident()?;
        postgres.kill().await;
        let begun = Instant::now();
        let before = system.bridge().await?;
        eventually("every message in flight was retried", async || {
            let counters = system.bridge().await?;
            Ok(counters.in_flight > 0 && counters.retries >= before.retries + counters.in_flight)
        })
        .await?;
        let settled = system.bridge().await?.settled();
        while begun.elapsed() < outage()? {
            let answer = system.post("/api/v1/works", &json!({})).send().await?;
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
            assert_eq!(system.get("/readyz").send().await?.status(), 503);
            let counters = system.bridge().await?;
            assert_eq!(counters.settled(), settled, "nothing is acknowledged meanwhile");
            assert_eq!(counters.received, settled + counters.in_flight);
            has_not_grown(&process, resident)?;
        }
        postgres.restart().await?;
        Ok(())
    })
    .await?;
    let counters = system.bridge().await?;
    assert_eq!((counters.received, counters.in_flight), (counters.settled(), 0));
    let answer = system.post("/api/v1/works", &json!({})).send().await?;
    assert_eq!(answer.status(), 202);
    system.postgres = Some(postgres);
    Ok(())
}

#[tokio::test]
async fn sigterm_finishes_received_messages() -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&[]).await?;
    let lines: String = (0..5_000).map(|n| format!("{{\"sequence_id\":{n}}}\n")).collect();
    system.publish_lines("users/u/devices/d/telemetry", &lines).await?;
    assert_eq!(process.terminate().await?, Some(0));
    let _process = system.serve(&[]).await?;
    eventually("the rest is delivered", async || {
        let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
        Ok(system.number(sql).await? >= 5_000)
    })
    .await?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, 5_000);
    Ok(())
}

/// Waits until a reading made after this call is visible and less than two seconds old. Then no
/// message waits in the broker, which delivers in order.
async fn keeps_up(system: &System) -> Result<()> {
    let now = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
    let newest = "select coalesce(extract(epoch from max(time)) * 1000, 0)::bigint
                  from telemetry.device";
    let called = system.number(now).await?;
    eventually("a new reading is visible", async || {
        let newest = system.number(newest).await?;
        Ok(newest > called && system.number(now).await? - newest < 2_000)
    })
    .await
}

/// Kills every server and role on the way of a reading, one after the other, while `tributary load`
/// counts each message. A message that the broker had acknowledged when it was killed survives
/// because the bridge, or its socket, already had it.
#[tokio::test]
async fn a_load_test_accounts_for_every_message_whatever_is_killed() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().expect("asked for in the options");
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
    // 180 messages a second: a debug build next to other tests catches up after each kill.
    let rate = if outage()? > Duration::from_secs(10) { "33.4" } else { "2" };
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
    let report = load.interrupt().await?;
    println!("{report:#}");
    for name in ["lost", "duplicated", "unacknowledged", "unknown"] {
        assert_eq!(report[name], 0, "{name} in {report:#}");
    }
    for name in ["sent", "acknowledged", "stored", "visible"] {
        assert_eq!(report[name], report["due"], "{name} in {report:#}");
    }
    assert!(
        report["troubles"].as_object().is_some_and(|it| !it.is_empty()),
        "no fault was noticed"
    );
    system.postgres = Some(postgres);
    Ok(())
}
