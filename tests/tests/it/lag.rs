//! The lag of every consumer is the same on the command line, over HTTP and in the metrics; a
//! stalled one is shown as stalled.

use anyhow::{Context, Result, ensure};
use eventsourcing::Position;
use eventstore::{Checkpoint, EventStore, Tasks};
use projections::{State, Status};
use serde_json::{Value, json};
use tests::{System, eventually};
use tokio_util::sync::CancellationToken;

/// Readings in one request.
const READINGS: i64 = 1_000;

async fn post_readings(system: &System, round: i64) -> Result<()> {
    let readings: Vec<_> = (0..READINGS)
        .map(|n| {
            json!({"user_id": "u", "device_id": "d", "temperature": 20.5,
                   "sequence_id": round * READINGS + n})
        })
        .collect();
    system.post("/api/v1/telemetry", &json!(readings)).send().await?.error_for_status()?;
    Ok(())
}

/// Returns one metric of one consumer; none if it is not exported.
async fn metric(system: &System, name: &str, labels: &str) -> Result<Option<f64>> {
    let text = system.get("/metrics").send().await?.text().await?;
    let wanted = format!("tributary_projection_{name}{{{labels}}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&wanted));
    value.map(|value| value.parse().context("a number")).transpose()
}

async fn telemetry(system: &System) -> Result<Value> {
    system.json("/api/v1/projections/telemetry").await
}

#[tokio::test]
async fn lag_is_the_same_everywhere_for_live_and_stalled_projections() -> Result<()> {
    const NAME: &str = "projection=\"telemetry\"";
    let system = System::start().await?;
    let _http = system.serve(&["http"]).await?;
    let before = telemetry(&system).await?;
    assert_eq!(before["state"], "never_run");
    assert_eq!(before["heartbeat_age_seconds"], Value::Null);
    let state = format!("{NAME},state=\"never_run\"");
    assert_eq!(metric(&system, "state", &state).await?, Some(1.0));
    assert_eq!(metric(&system, "heartbeat_age_seconds", NAME).await?, None, "no heartbeat, no age");

    let projector = system.serve(&["projector"]).await?;
    post_readings(&system, 0).await?;
    system.caught_up().await?;
    let moving = telemetry(&system).await?;
    let rate = moving["events_per_second"].as_f64().context("a rate")?;
    // All of them are in the window, which is 1 s to 10 s long.
    ensure!(rate > 50.0 && rate <= 1_000.0, "{moving}");
    let age = moving["heartbeat_age_seconds"].as_f64().context("an age")?;
    ensure!((0.0..10.0).contains(&age), "{moving}");
    let head = system.head().await?;
    assert_eq!((&moving["state"], &moving["position"]), (&json!("live"), &json!(head)));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let position = Some(head as f64);
    assert_eq!(metric(&system, "position", NAME).await?, position);
    assert_eq!(metric(&system, "events_behind", NAME).await?, Some(0.0));
    assert_eq!(metric(&system, "seconds_behind", NAME).await?, Some(0.0));
    assert_eq!(metric(&system, "parked", NAME).await?, Some(0.0));
    ensure!(metric(&system, "events_per_second", NAME).await?.is_some_and(|rate| rate > 0.0));
    let table = system.run(&["lag"]).await?;
    ensure!(table.contains("EVENTS/S") && table.contains("HEARTBEAT"), "{table}");
    let line = table.lines().find(|line| line.starts_with("telemetry ")).context("its line")?;
    ensure!(line.contains(" live ") && line.contains(" s ago"), "{table}");
    eventually("with nothing to do, it does nothing", async || {
        let idle = telemetry(&system).await?;
        Ok(idle["events_per_second"] == 0.0 && idle["state"] == "live")
    })
    .await?;

    // The projector is killed at work, and its last heartbeat is made a minute old.
    post_readings(&system, 1).await?;
    system.caught_up().await?;
    projector.kill().await?;
    post_readings(&system, 2).await?;
    let minute = "update log.checkpoint set heartbeat_at = heartbeat_at - interval '1 minute'";
    sqlx::query(minute).execute(&system.admin).await?;
    let dead = telemetry(&system).await?;
    assert_eq!((&dead["state"], &dead["events_per_second"]), (&json!("stalled"), &json!(0.0)));
    assert_eq!(dead["events_behind"], READINGS);
    ensure!(dead["heartbeat_age_seconds"].as_f64().is_some_and(|age| age >= 60.0), "{dead}");
    let age = metric(&system, "heartbeat_age_seconds", NAME).await?;
    ensure!(age.is_some_and(|age| age >= 60.0), "{age:?}");
    assert_eq!(metric(&system, "events_per_second", NAME).await?, Some(0.0));
    for state in State::ALL {
        let labels = format!("{NAME},state=\"{}\"", state.word());
        let expected = f64::from(u8::from(state == State::Stalled));
        assert_eq!(metric(&system, "state", &labels).await?, Some(expected), "{state:?}");
        assert_eq!(json!(state), state.word(), "the same word everywhere");
    }
    Ok(())
}

#[tokio::test]
async fn the_relay_has_a_lag() -> Result<()> {
    let system = System::start().await?;
    let _http = system.serve(&["http", "projector"]).await?;
    let relay = async || system.json("/api/v1/projections/relay").await;
    assert_eq!(relay().await?["state"], "never_run");
    post_readings(&system, 0).await?;
    assert_eq!(relay().await?["events_behind"], READINGS, "not published yet");
    let process = system.serve(&["relay"]).await?;
    eventually("it has published them", async || {
        let relay = relay().await?;
        Ok(relay["events_behind"] == 0 && relay["state"] == "live")
    })
    .await?;
    ensure!(relay().await?["events_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    let metrics = "projection=\"relay\",state=\"live\"";
    assert_eq!(metric(&system, "state", metrics).await?, Some(1.0));
    process.kill().await?;
    post_readings(&system, 1).await?;
    let dead = relay().await?;
    assert_eq!((&dead["position"], &dead["events_behind"]), (&json!(READINGS), &json!(READINGS)));
    Ok(())
}

#[tokio::test]
async fn the_rate_is_measured_over_the_last_seconds() -> Result<()> {
    const CONSUMER: &str = "test";
    let system = System::start().await?;
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(system.admin.clone(), &tasks, shutdown.clone());
    let status = async || -> Result<Status> {
        let statuses = projections::statuses(&store, &[CONSUMER]).await?;
        statuses.into_iter().next().context("a status")
    };
    let pass = async |seconds: i32| -> Result<()> {
        sqlx::query(
            "update log.checkpoint set earlier_at = earlier_at - make_interval(secs => $1),
                                       later_at = later_at - make_interval(secs => $1)",
        )
        .bind(f64::from(seconds))
        .execute(&system.admin)
        .await?;
        Ok(())
    };
    let advance = async |from: i64, to: i64| -> Result<()> {
        let mut connection = system.admin.acquire().await?;
        let (from, to) = (Position(from), Position(to));
        ensure!(Checkpoint::advance(&mut connection, CONSUMER, from, to, None).await?);
        Ok(())
    };
    let near = async |expected: f64| -> Result<()> {
        let rate = status().await?.events_per_second;
        // Less if the test was delayed: the rate is that of a longer time.
        ensure!(rate <= expected && rate >= 0.5 * expected, "{rate} is not nearly {expected}");
        Ok(())
    };
    store.start_consumer(CONSUMER).await?;
    // A checkpoint moves up to the head at most.
    let move_head = async |to: i64| -> Result<()> {
        let moved = sqlx::query("update log.head set position = $1").bind(to);
        moved.execute(&system.admin).await?;
        Ok(())
    };
    let mut connection = system.admin.acquire().await?;
    let beyond = Checkpoint::advance(&mut connection, CONSUMER, Position(0), Position(1), None);
    ensure!(!beyond.await?, "a checkpoint moved past the head");
    drop(connection);
    move_head(10_000).await?;
    advance(0, 1_000).await?;
    near(1_000.0).await?; // Over one second at least.
    pass(4).await?;
    near(250.0).await?;
    pass(1).await?;
    advance(1_000, 6_000).await?; // The earlier sample is old enough, so a newer one is taken.
    pass(5).await?;
    near(600.0).await?;
    store.heartbeat(CONSUMER).await?; // The first 6,000 are no longer in the window.
    near(0.0).await?;
    pass(3).await?;
    advance(6_000, 6_800).await?;
    near(100.0).await?;

    // After an hour of downtime, the rate does not count that hour.
    pass(3_600).await?;
    store.start_consumer(CONSUMER).await?;
    near(0.0).await?;
    advance(6_800, 7_000).await?;
    near(200.0).await?;
    advance(7_000, 10).await?;
    near(0.0).await?; // A checkpoint that was set back has no rate.
    move_head(0).await?;
    shutdown.cancel();
    Ok(())
}
