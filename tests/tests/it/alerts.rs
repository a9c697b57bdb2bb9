//! Alerts, from the reading of a device to the message on its topic.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

const USER: &str = "user_123";
const CONFIG: &str = "users/user_123/config";

fn topic(device: &str) -> String {
    format!("users/{USER}/devices/{device}/telemetry")
}

/// Returns the events of all alerts in order.
async fn history(system: &System) -> Result<Vec<Value>> {
    let page = system.json("/api/v1/events?context=alerts&limit=500").await?;
    let items = page["items"].as_array().context("a list")?.iter();
    let about_alerts = |event: &&Value| {
        event["type"].as_str().is_some_and(|event_type| event_type.starts_with("alert_"))
    };
    Ok(items.filter(about_alerts).cloned().collect())
}

fn in_words(events: &[Value]) -> Vec<String> {
    let words = |event: &Value| {
        let (what, data) = (event["type"].as_str().unwrap_or_default(), &event["data"]);
        format!("{what} {} {}", data["rule"].as_str().unwrap_or_default(), data["value"])
    };
    events.iter().map(words).collect()
}

async fn happened(system: &System, count: usize) -> Result<Vec<Value>> {
    eventually("the alerts are in the log", async || Ok(history(system).await?.len() >= count))
        .await?;
    history(system).await
}

#[tokio::test]
async fn rules_are_received_and_alerts_published_over_mqtt() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let mut subscriber = system.subscribe("users/+/devices/+/alerts").await?;
    let rules = json!({"temperature_max": 80.0, "rules": [
        {"key": "battery", "operator": "<", "threshold": 20.0, "message": "Critical Battery Level!"},
        {"key": "pressure", "operator": ">", "threshold": 105.5, "message": "Overpressure detected"},
        {"key": "hydraulics.pressure", "operator": ">", "threshold": 105.5, "message": "Overpressure inside"},
        {"key": "vibration", "operator": ">", "threshold": 5.0, "message": "High Vibration Detected"}]});
    system.publish(CONFIG, rules.to_string().as_bytes()).await?;
    eventually("the rules are known", async || {
        let config = system.json("/api/v1/users/user_123/config").await?;
        Ok(config["version"] == 1 && config["rules"].as_array().is_some_and(|r| r.len() == 4))
    })
    .await?;
    let bad = [
        json!({"sequence_id": 1, "battery": 19}),
        json!({"sequence_id": 2, "battery": 18, "pressure": 105.6}),
        json!({"sequence_id": 3, "hydraulics": {"pressure": 120}}),
        json!({"sequence_id": 4, "vibration": 5.1}),
    ];
    let mut published = Vec::new();
    for reading in &bad {
        system.publish(&topic("d1"), reading.to_string().as_bytes()).await?;
        let line = subscriber.next().await?;
        let (topic, payload) = line.split_once(' ').context("a topic and a payload")?;
        assert_eq!(topic, "users/user_123/devices/d1/alerts");
        published.push(serde_json::from_str::<Value>(payload)?);
    }
    let messages: Vec<_> = published.iter().map(|alert| alert["message"].clone()).collect();
    let expected = [
        "Critical Battery Level!",
        "Overpressure detected",
        "Overpressure inside",
        "High Vibration Detected",
    ];
    assert_eq!(messages, expected);
    assert_eq!(published[0]["state"], "active");
    assert_eq!((&published[0]["value"], &published[0]["threshold"]), (&json!(19.0), &json!(20.0)));

    let good = json!({"sequence_id": 5, "battery": 90, "pressure": 100, "hydraulics": {"pressure": 1}, "vibration": 5});
    system.publish(&topic("d1"), good.to_string().as_bytes()).await?;
    for alert in &published {
        let line = subscriber.next().await?;
        let cleared: Value = serde_json::from_str(line.split_once(' ').context("two parts")?.1)?;
        assert_eq!((&cleared["id"], &cleared["state"]), (&alert["id"], &json!("cleared")));
    }
    let history = history(&system).await?;
    assert_eq!(history.len(), 8, "{:?}", in_words(&history));
    // The causation id of each is the event id of its reading.
    for event in &history {
        let because = event["data"]["because"].as_i64().context("a position")?;
        let causes = system.json(&format!("/api/v1/events?after={}&limit=1", because - 1)).await?;
        assert_eq!(event["metadata"]["causation_id"], causes["items"][0]["id"]);
    }
    system.caught_up().await?;
    let alerts = system.json("/api/v1/alerts?user_id=user_123&state=cleared").await?;
    assert_eq!(alerts["items"].as_array().map(Vec::len), Some(4));
    Ok(())
}

#[tokio::test]
async fn an_alert_is_listed_explained_and_acknowledged() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "worker", "projector"]).await?;
    let owner = system.caller(system.token_for(USER, "user").await?);
    let other = system.caller(system.token_for("other", "user").await?);
    let config = format!("/api/v1/users/{USER}/config");
    let rules = json!({"rules": [
        {"key": "co2", "operator": ">=", "threshold": 1000, "times": 3, "severity": "major"}]});
    owner.command(Method::PUT, &config, &rules).await?;
    let reading = |sequence: i64, co2: i64| {
        json!({"user_id": USER, "device_id": "d", "sequence_id": sequence, "co2": co2,
               "time": format!("2026-01-01T00:00:{sequence:02}Z")})
    };
    let readings = json!([reading(1, 1000), reading(2, 1100), reading(3, 1200), reading(4, 1300)]);
    owner.command(Method::POST, "/api/v1/telemetry", &readings).await?;
    let list = async || owner.json("/api/v1/alerts?state=active&severity=major").await;
    eventually("the alert is shown", async || Ok(list().await?["items"][0]["id"].is_string()))
        .await?;
    let alert = list().await?["items"][0].clone();
    assert_eq!((&alert["rule"], &alert["value"]), (&json!("co2 >= 1000"), &json!(1200.0)));
    assert_eq!(other.json("/api/v1/alerts").await?["items"], json!([]));

    let path = format!("/api/v1/alerts/{}", alert["id"].as_str().context("an id")?);
    let why = owner.json(&format!("{path}/explanation")).await?;
    assert_eq!(why["rules_version"], 1);
    let verdicts: Vec<_> = why["steps"]
        .as_array()
        .context("steps")?
        .iter()
        .map(|step| step["verdict"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        verdicts,
        [
            "1000.0 breaches `co2 >= 1000`; breach 1 of 3 in a row",
            "1100.0 breaches `co2 >= 1000`; breach 2 of 3 in a row",
            "1200.0 breaches `co2 >= 1000`; breach 3 of 3 in a row; the alert is raised",
        ]
    );
    for _ in 0..2 {
        owner.command(Method::POST, &format!("{path}/acknowledge"), &Value::Null).await?;
    }
    let alert = owner.json(&path).await?;
    assert_eq!((&alert["acknowledged"], &alert["acknowledged_by"]), (&json!(true), &json!(USER)));
    assert_eq!(alert["state"], "active");

    // Removing the rule clears its alert.
    let rules = json!({"rules": [{"key": "co2", "operator": ">=", "threshold": 2000}]});
    owner.command(Method::PUT, &config, &rules).await?;
    eventually("the alert is cleared", async || {
        Ok(owner.json(&path).await?["cleared_because"] == "rule_changed")
    })
    .await?;

    let faulty = json!({"rules": [
        {"key": "co2", "operator": ">=", "threshold": 2000},
        {"key": "co2", "operator": "between", "threshold": 2000},
        {"key": "co2", "operator": "~", "threshold": 2000}]});
    let refused = owner.request(Method::PUT, &config).json(&faulty).send().await?;
    assert_eq!(refused.status(), 422);
    let problem: Value = refused.json().await?;
    assert_eq!(problem["code"], "invalid_rules");
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .context("errors")?
        .iter()
        .map(|fault| fault["pointer"].clone())
        .collect();
    assert_eq!(pointers, ["/rules/1/threshold", "/rules/2/operator"]);

    // A dry run evaluates other rules against the same readings.
    let tried = json!({"device_id": "d", "rules": [
        {"key": "co2", "operator": ">", "threshold": 1050, "for": "1s"}]});
    let before = history(&system).await?.len();
    let tried = owner.command(Method::POST, "/api/v1/alerts/dry-run", &tried).await?;
    assert_eq!((&tried["readings"], &tried["truncated"]), (&json!(4), &json!(false)));
    assert_eq!(tried["alerts"].as_array().map(Vec::len), Some(1), "{tried}");
    assert_eq!(tried["alerts"][0]["time"], "2026-01-01T00:00:03Z");
    assert_eq!(tried["alerts"][0]["steps"].as_array().map(Vec::len), Some(2));
    assert_eq!(history(&system).await?.len(), before, "nothing is written");
    let file = system.folder.join("rules.json");
    tokio::fs::write(&file, rules.to_string().replace("2000", "1100")).await?;
    let file = file.to_str().context("a path")?;
    let table = system.run(&["rules", "test", file, "--user-id", USER, "--device-id", "d"]).await?;
    assert!(table.contains("alert_raised"), "{table}");
    assert!(table.contains("the alert is raised"), "{table}");
    Ok(())
}

/// Devices that raise and clear alerts repeatedly: so many, because a rule raises five alerts an hour
/// for a device.
const DEVICES: i64 = 50;

/// Readings of these devices.
fn restless(from: i64, count: i64) -> Vec<(String, String)> {
    (from..from + count)
        .map(|n| {
            let value = if n / DEVICES % 7 < 3 { 9 } else { 1 };
            let device = format!("d{}", n % DEVICES);
            let second = n % 3600;
            let time = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            (device, json!({"sequence_id": n, "x": value, "time": time}).to_string())
        })
        .collect()
}

async fn publish(system: &System, readings: &[(String, String)]) -> Result<()> {
    for device in (0..DEVICES).map(|device| format!("d{device}")) {
        let lines: Vec<_> = readings
            .iter()
            .filter(|(of, _)| *of == device)
            .map(|(_, line)| line.as_str())
            .collect();
        system.publish_lines(&topic(&device), &(lines.join("\n") + "\n")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_alert_is_recorded_once_and_published_although_evaluators_and_bridges_are_killed()
-> Result<()> {
    let system = System::start().await?;
    let _front = system.serve(&["http", "projector"]).await?;
    let mut worker = system.serve(&["worker"]).await?;
    let mut bridge = system.serve(&["mqtt"]).await?;
    let second = system
        .serve_with(
            &["worker", "mqtt"],
            &[("MQTT_CLIENT_ID", "second"), ("MQTT_FILTER", "hosts/+/metrics")],
        )
        .await?;
    let mut subscriber = system.subscribe("users/+/devices/+/alerts").await?;
    let rules = json!({"rules": [{"key": "x", "operator": ">", "threshold": 5, "times": 2},
        {"key": "x", "operator": "<", "threshold": 2, "clear_threshold": 3}]});
    // Before the bridge has subscribed, the broker drops messages.
    eventually("the rules are known", async || {
        system.publish(CONFIG, rules.to_string().as_bytes()).await?;
        Ok(system.json("/api/v1/users/user_123/config").await?["version"].as_i64() >= Some(1))
    })
    .await?;
    for round in 0..3 {
        publish(&system, &restless(round * 1000, 1000)).await?;
        worker = system.serve_after_kill(&["worker"], &mut worker).await?;
        bridge = system.serve_after_kill(&["mqtt"], &mut bridge).await?;
    }
    eventually("all readings are in the log", async || {
        Ok(system
            .number("select count(*) from log.event where event_type = 'reading_recorded'")
            .await?
            == 3000)
    })
    .await?;
    eventually("the evaluator has seen them", async || {
        Ok(system
            .number(
                "select (position >= (select max(position) from log.event
                                  where event_type = 'reading_recorded'))::int::bigint
             from log.checkpoint where consumer = 'alert_watch'",
            )
            .await?
            == 1)
    })
    .await?;
    let count = "select count(*) from log.event where event_type in ('alert_raised', 'alert_updated', 'alert_cleared')";
    let found = system.number(count).await?;
    assert!(found > 500, "{found}");
    // All are published; repetitions have the same id and position.
    let mut published = BTreeSet::new();
    while i64::try_from(published.len())? < found {
        let line = subscriber.next().await?;
        let alert: Value = serde_json::from_str(line.split_once(' ').context("two parts")?.1)?;
        published.insert((alert["position"].as_i64(), alert["id"].to_string()));
    }
    assert!(published.iter().all(|(position, _)| position.is_some()));

    // Evaluating the whole log again without snapshots records nothing new.
    worker.kill().await?;
    second.kill().await?;
    let forget = "with gone as (delete from log.snapshot where consumer like 'alert_watch%' returning 1),
                  back as (update log.checkpoint set position = 0 where consumer = 'alert_watch' returning 1),
                  free as (delete from log.lease where name = 'alert_watch' returning 1)
                  select (select count(*) from gone) + (select count(*) from back)
                       + 0 * (select count(*) from free)";
    assert_eq!(system.number(forget).await?, DEVICES + 1, "all devices and a checkpoint");
    let _again = system.serve(&["worker"]).await?;
    eventually("the evaluator has seen them again", async || {
        Ok(system
            .number(
                "select (position >= (select max(position) from log.event
                                  where event_type = 'reading_recorded'))::int::bigint
             from log.checkpoint where consumer = 'alert_watch'",
            )
            .await?
            == 1)
    })
    .await?;
    assert_eq!(system.number(count).await?, found, "no alert event is recorded twice");
    let unpaired = "select count(*) from (
        select stream_id, count(*) filter (where event_type = 'alert_raised') as raised,
               count(*) filter (where event_type = 'alert_cleared') as cleared,
               (array_agg(event_type order by version))[1] as first
        from log.event where split_part(stream_id, '-', 1) = 'alert' group by stream_id) of_alerts
        where raised <> 1 or cleared > 1 or first <> 'alert_raised'";
    assert_eq!(system.number(unpaired).await?, 0);
    drop(bridge);
    Ok(())
}

#[tokio::test]
async fn default_rules_apply_to_users_without_rules_of_their_own() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "worker", "projector", "mqtt"]).await?;
    let operator = system.caller(system.token_for("op", "operator").await?);
    let rules = json!({"temperature_max": 50});
    operator.command(Method::PUT, "/api/v1/config", &rules).await?;
    let rules = json!({"rules": [{"key": "temperature", "operator": ">", "threshold": 90}]});
    operator.command(Method::PUT, "/api/v1/users/ada/config", &rules).await?;
    for user in ["ada", "bob"] {
        let topic = format!("users/{user}/devices/d/telemetry");
        system.publish(&topic, br#"{"sequence_id": 1, "temperature": 60}"#).await?;
        system.publish(&topic, br#"{"sequence_id": 2, "temperature": 95}"#).await?;
    }
    let events = happened(&system, 2).await?;
    let of =
        |event: &Value| (event["data"]["user_id"].to_string(), event["data"]["value"].to_string());
    let mut raised: Vec<_> = events.iter().map(of).collect();
    raised.sort();
    assert_eq!(raised, [(r#""ada""#.into(), "95.0".into()), (r#""bob""#.into(), "60.0".into())]);
    // Clears the alerts of all devices, also of those that are not in memory.
    operator.command(Method::PUT, "/api/v1/config", &json!({"rules": []})).await?;
    let events = happened(&system, 3).await?;
    assert_eq!(events[2]["data"]["user_id"], "bob");
    assert_eq!(events[2]["data"]["why"], "rule_changed");
    Ok(())
}
