//! One rule at every door that takes JSON: a duplicate name and a lone surrogate are refused with their
//! place, a byte-order mark is ignored, and a whole number may have a fraction of zeros.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use tests::{System, eventually};

use crate::openapi::{Operation, filled, operations};

/// Every operation that takes JSON, and the schema.
fn with_json(document: &Value) -> Result<Vec<(Operation, Value)>> {
    let with_schema = operations(document)?.into_iter().map(|operation| {
        let content = &operation.described["requestBody"]["content"];
        let schema = content["application/json"]["schema"].clone();
        (operation, schema)
    });
    Ok(with_schema.filter(|(_, schema)| schema.is_object()).collect())
}

async fn send(system: &System, method: &Method, path: &str, body: String) -> Result<(u16, String)> {
    let request = system.caller(&system.token).request(method.clone(), &filled(path));
    // Sessions of the console refuse requests that another site may have caused.
    let request = request.header("Tributary-Console", "1");
    let request = request.header("Content-Type", "application/json").body(body);
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn ambiguous_json_is_refused_with_its_place_on_every_endpoint() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let document = system.json("/openapi.json").await?;
    let operations = with_json(&document)?;
    ensure!(operations.len() > 15, "{operations:?}");
    let mut wrong = Vec::new();
    for (Operation { method, template: path, .. }, _) in &operations {
        for (object, detail) in [
            (r#"{"a": {"b": 1, "b": 2}}"#, "duplicate member"),
            (r#"{"a": {"b": "\ud800"}}"#, "lone surrogate"),
        ] {
            // A list of readings has a verdict for each.
            let is_list = path == "/api/v1/telemetry";
            let body = if is_list { format!("[{object}]") } else { object.to_owned() };
            let (status, text) = send(&system, method, path, body).await?;
            let place = if is_list { "`/a/b`: " } else { r#""pointer":"/a/b""# };
            let is_refused = if is_list { status == 200 } else { status == 422 };
            if !is_refused || !text.contains(place) || !text.contains(detail) {
                wrong.push(format!("{method} {path} {object}: {status} {text}"));
            }
        }
        // With the mark it is what it is without.
        let (status, text) = send(&system, method, path, "\u{feff}{}".to_owned()).await?;
        let (plain, _) = send(&system, method, path, "{}".to_owned()).await?;
        // The second schema is the next version: 204 instead of 201.
        if status / 100 != plain / 100 || text.contains("malformed_json") {
            wrong.push(format!("{method} {path} with a mark: {status} {text}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_whole_number_may_have_a_fraction_of_zeros_on_every_endpoint() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let document = system.json("/openapi.json").await?;
    let (mut tried, mut wrong) = (0, Vec::new());
    for (Operation { method, template: path, .. }, schema) in with_json(&document)? {
        let name = schema["$ref"].as_str().unwrap_or_default().rsplit('/').next();
        let schema = &document["components"]["schemas"][name.unwrap_or_default()];
        for (member, kind) in schema["properties"].as_object().into_iter().flatten() {
            if kind["type"] != "integer" && kind["type"][0] != "integer" {
                continue;
            }
            tried += 1;
            for (number, is_whole) in [("42.0", true), ("4.2e1", true), ("42.5", false)] {
                let body = format!(r#"{{"{member}": {number}}}"#);
                let (status, text) = send(&system, &method, &path, body).await?;
                let is_refused = text.contains(&format!(r#""pointer":"/{member}""#));
                if is_refused == is_whole || status == 500 {
                    wrong.push(format!("{method} {path} {member} {number}: {status} {text}"));
                }
            }
        }
    }
    ensure!(tried >= 2 && wrong.is_empty(), "{tried}: {}", wrong.join("\n"));
    for (method, path, body, accepted, refused) in [
        (
            Method::PUT,
            "/api/v1/config",
            r#"{"rules": [{"key": "x", "operator": ">", "threshold": 1, "times": N, "for": N}]}"#,
            204,
            "/rules/0/times",
        ),
        (
            Method::PUT,
            "/api/v1/users/u/presence",
            r#"{"inactive_after": N}"#,
            204,
            "/inactive_after",
        ),
        (
            Method::POST,
            "/api/v1/orders",
            r#"{"items": [{"product_id": "0198c0de-0000-7000-8000-000000000000", "quantity": N}]}"#,
            422,
            "/items/0/quantity",
        ),
    ] {
        let (status, text) = send(&system, &method, path, body.replace('N', "42.0")).await?;
        let place = format!(r#""pointer":"{refused}""#);
        assert!(status == accepted && !text.contains(&place), "{path}: {status} {text}");
        let (status, text) = send(&system, &method, path, body.replace('N', "42.5")).await?;
        assert!(status == 422 && text.contains(&place), "{path}: {status} {text}");
    }
    assert_eq!(system.get("/api/v1/works?limit=10.0").send().await?.status(), 200);
    assert_eq!(system.get("/api/v1/works?limit=10.5").send().await?.status(), 422);
    Ok(())
}

#[tokio::test]
async fn the_rule_of_http_is_that_of_mqtt() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "mqtt"]).await?;
    let sample = r#"{"time": "2026-01-01T00:00:00Z", "users": 1.0, "load": [0, 0, 0],
        "storage": {"total_bytes": 3e9, "used_bytes": 1, "free_bytes": 1},
        "memory": {"total_bytes": 3, "used_bytes": 1}}"#;
    let valid = [
        ("users/u/devices/d/telemetry", r#"{"sequence_id": 1.0}"#),
        ("users/u/devices/d/status", r#"{"online": true, "session_seq": 7.0}"#),
        ("users/u/config", r#"{"rules": [{"key": "x", "operator": "is_missing", "times": 2.0}]}"#),
        ("hosts/web-1/metrics", sample),
    ];
    for (topic, payload) in valid {
        let payload = payload.replace('\n', " ");
        system.publish(topic, format!("\u{feff}{payload}").as_bytes()).await?;
        for wrong in [r#""a": {"b": 1, "b": 1}, "#, r#""a": {"b": "\udfff"}, "#] {
            system
                .publish(topic, payload.replacen('{', &format!("{{{wrong}"), 1).as_bytes())
                .await?;
        }
    }
    eventually("all are settled", async || {
        let counters = system.bridge().await?;
        Ok((counters.appended, counters.rejected, counters.in_flight) == (4, 8, 0))
    })
    .await?;
    let rejected = system.json("/api/v1/events?type=message_rejected").await?;
    for event in rejected["items"].as_array().context("a list")? {
        let reason = event["data"]["reason"].as_str().context("a reason")?;
        assert!(reason.contains("/a/b: ") || reason.contains("`/a/b`: "), "{event}");
    }
    Ok(())
}
