//! Numbers as devices write them: with fractions, exponents and more digits than a double has.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::rebuild::run;

const READINGS: &str = "/api/v1/users/u/devices/d/readings";

/// A reading whose further fields have names of columns, and digits that a double rounds.
const READING: &str = r#"{"user_id": "u", "device_id": "d", "sequence_id": 42.0, "battery": 68.5,
    "temperature": "n/a", "time": 1.7672256e12, "iccid": 89490200001234567891, "position": 55.50,
    "boot": {"received_at": 1E2}, "received_at": "noon"}"#;

#[tokio::test]
async fn digits_are_kept_from_the_device_to_the_table() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let send = |reading: &str| {
        let request = system.caller(&system.token).request(Method::POST, "/api/v1/telemetry");
        request.header("Content-Type", "application/json").body(format!("[{reading}]")).send()
    };
    let answer: Value = send(READING).await?.json().await?;
    assert_eq!(answer["items"][0]["verdict"], "accepted", "{answer}");
    system.publish("users/u/devices/d/telemetry", READING.as_bytes()).await?;
    eventually("the same message over MQTT is a duplicate", async || {
        Ok(system.bridge().await?.duplicate == 1)
    })
    .await?;
    system.caught_up().await?;

    let extra = r#"{"temperature":"n/a","iccid":89490200001234567891,"position":55.50,"boot":{"received_at": 1E2},"received_at":"noon"}"#;
    let log = system.get("/api/v1/events?type=reading_recorded").send().await?.text().await?;
    assert!(log.contains(r#""battery":68.5"#) && log.contains(extra), "{log}");
    for path in [READINGS, "/api/v1/users/u/devices/d", "/api/v1/devices"] {
        let shown = system.get(path).send().await?.text().await?;
        assert!(shown.contains(extra) && shown.contains(r#""battery":68.5"#), "{path}: {shown}");
    }

    // Fields are the device's, in columns that are never those of ours, each once.
    let fields = "?fields=position,iccid,received_at,temperature,battery,position,boot";
    let shown = system.get(&format!("{READINGS}{fields}")).send().await?.text().await?;
    let position = system.json(READINGS).await?["items"][0]["position"].clone();
    for part in [
        format!(r#""position":{position}"#),
        r#""fields.position":55.50,"iccid":89490200001234567891,"fields.received_at":"noon","temperature":"n/a","battery":68.5,"boot":{"received_at": 1E2}}"#.to_owned(),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let request = system.get(&format!("{READINGS}{fields}")).header("Accept", "text/csv");
    let table = request.send().await?.text().await?;
    let mut lines = table.lines();
    let columns = "time,received_at,sequence_id,boot_id,position,unset_time,fields.position,iccid,fields.received_at,temperature,battery,boot";
    assert_eq!(lines.next(), Some(columns));
    let end = format!(
        r#",42,,{position},,55.50,89490200001234567891,noon,n/a,68.5,"{{""received_at"": 1E2}}""#
    );
    let line = lines.next().context("a line")?;
    assert!(line.ends_with(&end), "{line}");

    let metrics = system.get("/metrics").send().await?.text().await?;
    for door in ["http", "mqtt"] {
        let counter = format!(
            r#"tributary_readings_field_unusable_total{{door="{door}",field="temperature"}} 1"#
        );
        assert!(metrics.contains(&counter), "{metrics}");
    }
    for (reading, reason) in [
        (
            r#"{"user_id": "u", "device_id": "d", "sequence_id": 42.5}"#,
            "`/sequence_id`: must be a whole",
        ),
        (
            r#"{"user_id": "u", "device_id": "d", "sequence_id": 1, "a": [1e400]}"#,
            "`/a/0`: the number",
        ),
    ] {
        let answer: Value = send(reading).await?.json().await?;
        let refused = answer["items"][0]["reason"].as_str().context("a reason")?.to_owned();
        assert!(refused.contains(reason), "{refused}");
    }
    Ok(())
}

/// Sets of values whose sum a double or a number of billionths rounds, or which overflow.
const VALUES: [&[f64]; 8] = [
    &[2.5e-10, 2.5e-10, 2.5e-10],
    &[3.402_823_466_385_288_6e38, 3.402_823_466_385_288_6e38],
    &[f64::MAX, f64::MAX, f64::MAX],
    &[f64::MAX, f64::MIN, 1.0],
    &[5e-324, 1e308, -1e308, 5e-324],
    &[0.1, 0.2, 0.3, 1e22, -1e22],
    &[0.1, 0.1, 0.1],
    &[0.0, 0.0, 0.0, 5e-324],
];

#[tokio::test]
async fn a_mean_is_exact_in_every_order_and_between_the_extremes() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let start = 1_767_225_600_000_i64; // 2026-01-01 in milliseconds
    for (device, turned) in [("forwards", false), ("backwards", true)] {
        let mut readings: Vec<Value> = Vec::new();
        for (set, values) in (0_i64..).zip(VALUES) {
            for (n, value) in (0_i64..).zip(values) {
                readings.push(json!({"user_id": "u", "device_id": device, "sequence_id": set * 100 + n,
                    "time": start + set * 86_400_000 + n * 60_000, "v": value, "temperature": value}));
            }
        }
        if turned {
            readings.reverse();
        }
        // Each request is a batch, so sums are also made in Postgres.
        for reading in readings.chunks(if turned { 2 } else { 1_000 }) {
            system.post("/api/v1/telemetry", &json!(reading)).send().await?.error_for_status()?;
            system.caught_up().await?;
        }
    }
    let means = async |device: &str, field: &str, bucket: &str| -> Result<Vec<f64>> {
        let path =
            format!("/api/v1/users/u/devices/{device}/readings?bucket={bucket}&fields={field}");
        let page = system.json(&path).await?;
        let buckets = page["items"].as_array().context("buckets")?.iter();
        let mean = |bucket: &Value| {
            let [min, avg, max] = ["min", "avg", "max"].map(|name| bucket[name].as_f64());
            assert!(min <= avg && avg <= max && avg.is_some(), "{bucket}");
            avg.context("a mean")
        };
        buckets.map(mean).collect()
    };
    let expected =
        [2.5e-10, 3.402_823_466_385_288_6e38, f64::MAX, 1.0 / 3.0, 2.5e-324, 0.12, 0.1, 0.0];
    for bucket in ["1d", "1h"] {
        for device in ["forwards", "backwards"] {
            assert_eq!(means(device, "v", bucket).await?, expected, "{device} {bucket}");
            assert_eq!(means(device, "temperature", bucket).await?, expected, "{device} {bucket}");
        }
    }
    let (code, ended) = run(&system, &["rebuild", "telemetry", "--verify", "--json"]).await?;
    assert_eq!(code, Some(0), "{ended:#}");
    Ok(())
}
