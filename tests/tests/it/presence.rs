//! Presence: births and wills in every order, inactivity and readings, and workers that are killed.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use domain::telemetry::{Connection, DeviceId, DeviceRef, Event, Reason, UserId, device_stream};
use eventsourcing::{Metadata, Position};
use eventstore::{Append, EventStore, ExpectedVersion, NewEvent, Tasks};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{DEADLINE, System, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

const STATUS: &str = "users/u/devices/d/status";
const DEVICE: &str = "/api/v1/users/u/devices/d";
const SETTING: &str = "/api/v1/users/u/presence";
/// A short interval of presence decisions.
const QUICK: [(&str, &str); 1] = [("PRESENCE_TICK", "50ms")];

fn status(online: bool, session_seq: i64) -> String {
    json!({"online": online, "session_seq": session_seq}).to_string()
}

/// Connects as the device, with a will that the broker publishes when the process is killed.
async fn connect(system: &System, session_seq: i64) -> Result<Child> {
    let port = system.mosquitto.port().to_string();
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mosquitto_sub", "-V", "mqttv5", "-d", "-h", "127.0.0.1", "-p", &port]);
    command.args(["-t", "nothing", "--will-topic", STATUS, "--will-qos", "1"]);
    command.args(["--will-payload", &status(false, session_seq)]);
    let mut process = command.kill_on_drop(true).stdout(Stdio::piped()).spawn()?;
    let stdout = process.stdout.as_mut().context("stdout is piped")?;
    let mut lines = BufReader::new(stdout).lines();
    let subscribed = async {
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("Subscribed") {
                return Ok(());
            }
        }
        anyhow::bail!("mosquitto_sub ended")
    };
    tokio::time::timeout(DEADLINE, subscribed).await.context("it connects")??;
    Ok(process)
}

/// Waits until the bridge has subscribed. Before, the broker drops messages.
async fn connected(system: &System) -> Result<()> {
    eventually("the bridge is connected", async || {
        let metrics = system.get("/metrics").send().await?.text().await?;
        let connected =
            |line: &str| line.starts_with("tributary_bridge_connected") && line.ends_with(" 1");
        Ok(metrics.lines().any(connected))
    })
    .await
}

/// Publishes statuses in order, and waits until the read model has them. Returns the device.
async fn publish_statuses(system: &System, statuses: &[Value]) -> Result<Value> {
    let before = system.bridge().await?.settled();
    for status in statuses {
        system.publish(STATUS, status.to_string().as_bytes()).await?;
    }
    settled(system, before + statuses.len() as u64).await?;
    system.json(DEVICE).await
}

async fn settled(system: &System, count: u64) -> Result<()> {
    eventually("the bridge has settled them", async || {
        Ok(system.bridge().await?.settled() >= count)
    })
    .await?;
    system.caught_up().await
}

/// Returns the device's events other than readings in order, each with its reason.
async fn transitions(system: &System) -> Result<Vec<String>> {
    let events = system.json("/api/v1/streams/device-u~d?limit=500").await?;
    let items = events["items"].as_array().context("a list")?;
    let of = |event: &Value| {
        let reason = event["data"]["reason"].as_str().unwrap_or("said");
        format!("{} {reason}", event["type"].as_str().unwrap_or_default())
    };
    Ok(items.iter().filter(|event| event["type"] != "reading_recorded").map(of).collect())
}

async fn read(system: &System, sequence_id: i64) -> Result<Position> {
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": sequence_id}]);
    let answer = system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    let answer: Value = answer.json().await?;
    Ok(Position(answer["items"][0]["position"].as_i64().context("a position")?))
}

async fn until(system: &System, online: bool, reason: &str) -> Result<()> {
    eventually(&format!("the device is online: {online}, {reason}"), async || {
        let answer = system.get(DEVICE).send().await?;
        if !answer.status().is_success() {
            return Ok(false);
        }
        let device: Value = answer.json().await?;
        Ok(device["online"] == online && device["reason"] == reason)
    })
    .await
}

async fn choose(system: &System, inactive_after: Value) -> Result<Value> {
    let body = json!({"inactive_after": inactive_after});
    system.caller(&system.token).command(Method::PUT, SETTING, &body).await
}

/// `ThingsBoard` #7909: the device reconnects before the broker notices that the old connection is
/// dead, so the old will is published last.
#[tokio::test]
async fn a_late_will_of_the_previous_session_changes_nothing() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&[], &QUICK).await?;
    connected(&system).await?;
    system.publish(STATUS, status(true, 1).as_bytes()).await?;
    let mut old = connect(&system, 1).await?;
    until(&system, true, "birth").await?;
    let mut new = connect(&system, 2).await?;
    system.publish(STATUS, status(true, 2).as_bytes()).await?;
    eventually("the new birth is there", async || {
        Ok(system.json(DEVICE).await?["session_seq"] == 2)
    })
    .await?;
    let since = system.json(DEVICE).await?["online_since"].clone();

    let before = system.bridge().await?.settled();
    old.kill().await?;
    settled(&system, before + 1).await?;
    let device = system.json(DEVICE).await?;
    assert_eq!((&device["online"], &device["session_seq"]), (&json!(true), &json!(2)));
    assert_eq!(device["online_since"], since, "the device was online all the time");

    new.kill().await?;
    until(&system, false, "will").await?;
    let expected = ["device_connected said", "device_connected said", "device_disconnected said"];
    let transitions = transitions(&system).await?;
    assert_eq!(transitions[..3], expected, "the old will is recorded");
    assert_eq!(transitions.len(), 4);
    Ok(())
}

#[tokio::test]
async fn births_and_wills_are_right_in_any_order() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&[], &QUICK).await?;
    connected(&system).await?;
    let birth = |seq: i64| json!({"online": true, "session_seq": seq});
    let will = |seq: i64| json!({"online": false, "session_seq": seq});
    let booted =
        |online: bool, boot: &str| json!({"online": online, "session_seq": 1, "boot_id": boot});
    for (messages, online, reason, session) in [
        (vec![birth(1), birth(2), will(1)], true, "birth", 2),
        (vec![will(2), will(2)], false, "will", 2),
        (vec![birth(2), birth(1)], true, "birth", 1),
        (vec![will(3), birth(3)], true, "birth", 3),
        (vec![will(6)], false, "will", 6),
        // The counter wraps, as Sparkplug's bdSeq, twice: the late will of the session before, and the
        // birth that the log has.
        (vec![birth(255), birth(0), will(255)], true, "birth", 0),
        (vec![will(0), birth(255), birth(0)], true, "birth", 0),
        (vec![will(0)], false, "will", 0),
        (vec![booted(true, "b1")], true, "birth", 1),
        (vec![booted(true, "b2"), booted(false, "b1")], true, "birth", 1),
        (vec![booted(false, "b2")], false, "will", 1),
        // A status without a session is rejected.
        (vec![json!({"online": true})], false, "will", 1),
    ] {
        let device = publish_statuses(&system, &messages).await?;
        let shown = (&device["online"], &device["reason"], &device["session_seq"]);
        assert_eq!(shown, (&json!(online), &json!(reason), &json!(session)), "{messages:?}");
    }
    assert_eq!(system.bridge().await?.rejected, 1);
    Ok(())
}

#[tokio::test]
async fn an_inactive_device_disconnects_once_and_reconnects_once() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&[], &QUICK).await?;
    read(&system, 1).await?;
    until(&system, true, "heard").await?;
    assert_eq!(transitions(&system).await?, ["device_connected heard"], "15 minutes by default");

    choose(&system, json!("1s")).await?;
    until(&system, false, "inactive").await?;
    let gone = ["device_connected heard", "device_disconnected inactive"];
    assert_eq!(transitions(&system).await?, gone);
    let online = system.json("/api/v1/devices?online=true").await?;
    let offline = system.json("/api/v1/devices?online=false").await?;
    assert_eq!(
        (online["items"].as_array(), offline["items"][0]["device_id"].as_str()),
        (Some(&vec![]), Some("d"))
    );

    choose(&system, Value::Null).await?;
    read(&system, 2).await?;
    until(&system, true, "heard").await?;
    system.publish(STATUS, status(true, 7).as_bytes()).await?;
    until(&system, true, "birth").await?;
    choose(&system, json!(1)).await?;
    until(&system, false, "inactive").await?;
    let again = ["device_connected heard", "device_connected said", "device_disconnected inactive"];
    assert_eq!(transitions(&system).await?, [&gone[..], &again[..]].concat());
    let device = system.json(DEVICE).await?;
    assert_eq!(device["session_seq"], 7);
    assert!(device["online_since"].as_str() > device["last_seen_at"].as_str(), "{device}");
    Ok(())
}

/// The decision of a worker that was paused beyond the end of its lease.
#[tokio::test]
async fn an_outdated_presence_decision_changes_nothing() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http", "projector"], &QUICK).await?;
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(system.admin.clone(), &tasks, shutdown.clone());
    let (user_id, device_id) = (UserId::parse("u")?, DeviceId::parse("d")?);
    let stream = device_stream(DeviceRef { user_id: &user_id, device_id: &device_id });
    let decided = |reason, rests_on| Connection {
        user_id: user_id.clone(),
        device_id: device_id.clone(),
        session_seq: 0,
        boot_id: String::new(),
        reason: Some(reason),
        rests_on: Some(rests_on),
    };
    let append = async |event: Event| -> Result<()> {
        let event = NewEvent::new(&event)?;
        let request = Append::to(stream.clone(), ExpectedVersion::Any, vec![event]);
        store.append(request.metadata(Metadata::default())).await?;
        system.caught_up().await
    };
    let first = read(&system, 1).await?;
    append(Event::DeviceConnected(decided(Reason::Heard, first))).await?;
    let heard = Position(system.head().await?);
    let last = read(&system, 2).await?;
    append(Event::DeviceDisconnected(decided(Reason::Inactive, heard))).await?;
    assert_eq!(system.json(DEVICE).await?["online"], true, "a later reading was received");
    append(Event::DeviceDisconnected(decided(Reason::Inactive, last))).await?;
    assert_eq!(system.json(DEVICE).await?["online"], false);
    append(Event::DeviceConnected(decided(Reason::Heard, last))).await?;
    assert_eq!(system.json(DEVICE).await?["online"], false, "no later reading was received");
    shutdown.cancel();
    Ok(())
}

/// Of two workers, the one that decides is killed.
#[tokio::test]
async fn every_presence_transition_is_recorded_once_when_a_worker_is_killed() -> Result<()> {
    const DEVICES: i64 = 3_000;
    let system = System::start().await?;
    let _others = system.serve(&["http", "projector"]).await?;
    choose(&system, json!("2s")).await?;
    let worker = system.serve_with(&["worker"], &QUICK).await?;
    eventually("it owns the lease", async || {
        Ok(system.number("select count(*) from log.lease where name = 'presence'").await? == 1)
    })
    .await?;
    let _heir = system.serve_with(&["worker"], &QUICK).await?;
    for thousand in 0..DEVICES / 1_000 {
        let readings: Vec<_> = (0..1_000)
            .map(|n| json!({"user_id": "u", "device_id": format!("d{thousand}-{n}"), "sequence_id": 1}))
            .collect();
        system.post("/api/v1/telemetry", &json!(readings)).send().await?.error_for_status()?;
    }
    let said = "select count(*) from log.event where event_type = 'device_disconnected'";
    eventually("some are gone", async || Ok(system.number(said).await? > 0)).await?;
    worker.kill().await?;
    let at_the_kill = system.number(said).await?;
    eventually("all are gone", async || {
        let gone = "select count(*) from telemetry.device where not online";
        Ok(system.number(gone).await? == DEVICES)
    })
    .await?;
    ensure!(at_the_kill < DEVICES, "killed after all transitions");
    system.caught_up().await?;
    let counts: Vec<(String, String, i64)> = sqlx::query_as(
        "select event_type, data->>'reason', count(*) from log.event
         where event_type like 'device_%' group by 1, 2 order by 1",
    )
    .fetch_all(&system.admin)
    .await?;
    let of = |kind: &str, reason: &str| (kind.to_owned(), reason.to_owned(), DEVICES);
    let expected = [of("device_connected", "heard"), of("device_disconnected", "inactive")];
    assert_eq!(counts, expected, "{at_the_kill} when it was killed");
    Ok(())
}

#[tokio::test]
async fn a_presence_setting_is_private_and_validated() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let own = system.caller(system.token_for("u", "user").await?);
    let nothing = json!({"user_id": "u", "inactive_after": null});
    assert_eq!(own.json(SETTING).await?, nothing);
    for (given, shown) in [(json!("90s"), "90s"), (json!(900), "15m"), (json!("24h"), "1d")] {
        own.command(Method::PUT, SETTING, &json!({"inactive_after": given})).await?;
        assert_eq!(own.json(SETTING).await?["inactive_after"], shown);
    }
    let head = system.head().await?;
    let again = own.request(Method::PUT, SETTING).json(&json!({"inactive_after": 86_400}));
    assert_eq!(again.send().await?.headers()["etag"], "\"3\"");
    assert_eq!(system.head().await?, head, "an unchanged setting is no event");
    let late = own.request(Method::PUT, SETTING).header("If-Match", "\"2\"");
    assert_eq!(late.json(&json!({"inactive_after": 60})).send().await?.status(), 412);
    for body in [
        json!({}),
        json!({"inactive_after": "8d"}),
        json!({"inactive_after": 0}),
        json!({"inactive_after": "a\0"}),
        json!({"inactive_after": "15m", "x": 1}),
    ] {
        let answer = own.request(Method::PUT, SETTING).json(&body).send().await?;
        assert_eq!(answer.status(), 422, "{body}");
    }
    own.command(Method::PUT, SETTING, &json!({"inactive_after": null})).await?;
    assert_eq!(own.json(SETTING).await?, nothing);
    assert_eq!(own.get("/api/v1/users/v/presence").send().await?.status(), 404);
    assert_eq!(own.get("/api/v1/users/a~b/presence").send().await?.status(), 404);
    Ok(())
}

/// Returns the rows of the read model that hold presence.
async fn shown(system: &System) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select 'device ' || device_id, d::text from telemetry.device d
         union all select 'setting ' || user_id, s::text from telemetry.presence_setting s",
    )
    .fetch_all(&system.admin)
    .await?;
    Ok(rows.into_iter().collect())
}

/// The next migration rebuilds a read model from before presence decisions, with the rows of the
/// live one.
#[tokio::test]
async fn a_read_model_of_an_older_version_is_rebuilt() -> Result<()> {
    let system = System::start().await?;
    let everything = system.serve_with(&[], &QUICK).await?;
    read(&system, 1).await?;
    until(&system, true, "heard").await?;
    choose(&system, json!("1s")).await?;
    until(&system, false, "inactive").await?;
    choose(&system, json!("1h")).await?;
    system.publish(STATUS, status(true, 7).as_bytes()).await?;
    until(&system, true, "birth").await?;
    everything.terminate().await?;

    let _http = system.serve(&["http"]).await?;
    let live = shown(&system).await?;
    ensure!(live.len() == 2, "{live:?}");
    let works = "select count(*) from log.checkpoint where consumer = 'works' and position > 0";
    assert_eq!(system.number(works).await?, 1);
    sqlx::raw_sql(
        "comment on schema telemetry is null; drop table telemetry.presence_setting;
                   alter table telemetry.device drop column told_at;",
    )
    .execute(&system.admin)
    .await?;
    system.run(&["migrate"]).await?;
    assert_eq!(shown(&system).await?, live, "rebuilt in a shadow schema");
    assert_eq!(system.number(works).await?, 1, "no other model is rebuilt");
    let _projector = system.serve(&["projector"]).await?;
    system.caught_up().await?;
    assert_eq!(shown(&system).await?, live);
    system.run(&["migrate"]).await?;
    assert_eq!(shown(&system).await?, live, "a second migration changes nothing");
    Ok(())
}
