//! Whatever a door accepts, every consumer applies: random readings, rules, documents, page views,
//! orders, host samples and statuses, over HTTP and MQTT, park no stream and can be read back.
//! `TRIBUTARY_FUZZ_ROUNDS` sets how many rounds are sent.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use proptest::strategy::Strategy;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{System, eventually, from_environment};

use crate::random::{self, Random};

/// Accepted and refused inputs by kind.
type Counts = BTreeMap<&'static str, (u64, u64)>;

struct Sender {
    system: System,
    random: Random,
    counts: Counts,
    /// Messages published over MQTT.
    published: u64,
}

impl Sender {
    /// Sends a request, again while a limit on the rate refuses it. Anything but acceptance and a
    /// refusal is an error.
    async fn send(&self, method: &Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        loop {
            let caller = self.system.caller(&self.system.token);
            let answer = caller.request(method.clone(), path).json(body).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            if status == StatusCode::TOO_MANY_REQUESTS {
                continue;
            }
            ensure!(!status.is_server_error(), "{method} {path} {body}: {status} {text}");
            return Ok((status, serde_json::from_str(&text).unwrap_or_default()));
        }
    }

    fn count(&mut self, kind: &'static str, accepted: bool) {
        let (taken, refused) = self.counts.entry(kind).or_default();
        let counter = if accepted { taken } else { refused };
        *counter += 1;
    }

    async fn command(
        &mut self,
        kind: &'static str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Option<String>> {
        let (status, answer) = self.send(&method, path, body).await?;
        self.count(kind, status.is_success());
        Ok(answer["id"].as_str().map(str::to_owned))
    }

    async fn publish(
        &mut self,
        topic: &str,
        count: usize,
        value: &impl Strategy<Value = Value>,
    ) -> Result<()> {
        let lines: Vec<String> =
            (0..count).map(|_| self.random.pick(value).to_string() + "\n").collect();
        self.published += u64::try_from(count)?;
        self.system.publish_lines(topic, &lines.concat()).await
    }

    async fn round(&mut self) -> Result<()> {
        for path in ["/api/v1/users/u1/config", "/api/v1/users/u2/config", "/api/v1/config"] {
            let rules = self.random.pick(&random::rules());
            self.command("rules", Method::PUT, path, &rules).await?;
        }
        let readings: Vec<_> = (0..100).map(|_| self.random.pick(&random::reading())).collect();
        let (status, answer) =
            self.send(&Method::POST, "/api/v1/telemetry", &json!(readings)).await?;
        ensure!(status.is_success(), "{status} {answer}");
        for verdict in answer["items"].as_array().context("verdicts")? {
            self.count("readings", verdict["verdict"] == "accepted");
        }
        for device in 0..3 {
            let topic = format!("users/u1/devices/d{device}/telemetry");
            let reading = random::reading().prop_map(|mut reading| {
                reading["user_id"] = Value::Null;
                reading["device_id"] = Value::Null;
                reading
            });
            self.publish(&topic, 10, &reading).await?;
        }
        self.publish("users/u1/devices/d1/status", 5, &random::status()).await?;
        self.publish("users/u2/config", 2, &random::rules()).await?;
        self.publish("hosts/web-1/metrics", 10, &random::sample()).await?;
        for _ in 0..5 {
            let document = self.random.pick(&random::document());
            self.command("documents", Method::POST, "/data", &document).await?;
        }
        for _ in 0..20 {
            let view = self.random.pick(&random::page_view());
            self.command("page views", Method::POST, "/api/v1/page-views", &view).await?;
        }
        self.orders().await?;
        self.tasks().await
    }

    async fn orders(&mut self) -> Result<()> {
        let product = self.random.pick(&random::product());
        let made = self.command("products", Method::POST, "/api/v1/products", &product).await?;
        let Some(id) = made else { return Ok(()) };
        for _ in 0..3 {
            let moved = json!({"quantity": self.random.pick(&random::quantity()), "reason": "r"});
            let path = format!("/api/v1/products/{id}/stock");
            self.command("stock", Method::POST, &path, &moved).await?;
            let quantity = self.random.pick(&random::quantity());
            let order = json!({"items": [{"product_id": id, "quantity": quantity}]});
            self.command("orders", Method::POST, "/api/v1/orders", &order).await?;
        }
        Ok(())
    }

    async fn tasks(&mut self) -> Result<()> {
        let number = self.random.pick(&random::quantity());
        self.command("works", Method::POST, "/api/v1/works", &json!({"add_up_to": number})).await?;
        let words = self.random.pick(&random::words());
        let mut text = words.values().filter_map(Value::as_str);
        let name = text.next().unwrap_or("P").to_owned();
        let title = text.next().unwrap_or("T").to_owned();
        let project = json!({"name": name, "description": title});
        let made = self.command("projects", Method::POST, "/api/v1/projects", &project).await?;
        let Some(project) = made else { return Ok(()) };
        let task = json!({"project_id": project, "title": title, "description": name,
            "due_at": "0000-01-01T00:00:00Z"});
        self.command("tasks", Method::POST, "/api/v1/tasks", &task).await?;
        Ok(())
    }

    /// Waits until every message is settled and every consumer has reached the head.
    async fn settled(&self) -> Result<()> {
        eventually("the bridge has settled every message", async || {
            let counters = self.system.bridge().await?;
            Ok(counters.received >= self.published && counters.in_flight == 0)
        })
        .await?;
        self.system.caught_up().await?;
        eventually("the evaluator and the process managers have reached the head", async || {
            let behind = "select count(*) from log.checkpoint
                          where consumer in ('alert_watch', 'alert_mqtt', 'fulfilment')
                            and position < (select position from log.head)";
            Ok(self.system.number(behind).await? == 0)
        })
        .await?;
        self.system.caught_up().await
    }
}

#[tokio::test]
async fn whatever_a_door_accepts_every_consumer_applies() -> Result<()> {
    let rounds = from_environment("TRIBUTARY_FUZZ_ROUNDS", 4)?;
    let random = Random::new()?;
    let seed = random.seed;
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let mut sender = Sender { system, random, counts: Counts::new(), published: 0 };
    let sent = async {
        for _ in 0..rounds {
            sender.round().await?;
        }
        sender.settled().await
    };
    sent.await.with_context(|| format!("TRIBUTARY_FUZZ_SEED={seed}"))?;
    let Sender { system, counts, .. } = sender;

    let parked: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' ', p.consumer, p.stream_id, p.position, p.error, e.data)
         from log.parked p left join log.event e on e.position = p.position",
    )
    .fetch_all(&system.admin)
    .await?;
    ensure!(parked.is_empty(), "TRIBUTARY_FUZZ_SEED={seed}: {parked:#?}");
    let recorded = "select count(*) from log.event where event_type = 'reading_recorded'";
    let recorded = system.number(recorded).await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, recorded);
    eprintln!("TRIBUTARY_FUZZ_SEED={seed}, accepted and refused: {counts:?}");
    for kind in ["readings", "rules", "documents", "page views"] {
        let accepted = counts.get(kind).is_some_and(|(accepted, _)| *accepted > 0);
        ensure!(accepted, "TRIBUTARY_FUZZ_SEED={seed}: no {kind} were accepted: {counts:?}");
    }
    // The answers are read as text: the JSON parser of this test has private names of its own.
    for path in [
        "/api/v1/devices",
        "/api/v1/users/u1/devices/d1/readings?limit=500",
        "/api/v1/users/u1/devices/d1/readings?bucket=1d&from=2000-01-01T00:00:00Z",
        "/api/v1/alerts?limit=500",
        "/api/v1/users/u1/config",
        "/data?limit=500",
        "/api/v1/page-views/stats",
        "/api/v1/orders",
        "/api/v1/products",
        "/api/v1/tasks",
        "/api/v1/host/samples?host=web-1",
        "/api/v1/events?limit=500",
    ] {
        let answer = system.get(path).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == 200, "TRIBUTARY_FUZZ_SEED={seed}: {path}: {status} {text}");
    }
    Ok(())
}

/// The readings of issue 10, number 6, with their limits, over both doors.
#[tokio::test]
async fn a_reading_beyond_a_limit_is_refused_with_the_limit_and_parks_nothing() -> Result<()> {
    let system = System::start().await?;
    let limits = [
        ("READING_MAX_DEPTH", "3"),
        ("READING_MAX_FIELDS", "2"),
        ("READING_MAX_NAME", "5"),
        ("READING_MAX_AHEAD", "1h"),
        ("READING_MAX_AGE", "365d"),
    ];
    let _process = system.serve_with(&[], &limits).await?;
    let deep = format!("{}{}", "[".repeat(127 - 1), "]".repeat(127 - 1));
    let now = chrono::Utc::now();
    let ahead = (now + chrono::TimeDelta::hours(2)).timestamp_millis();
    let beyond = [
        (r#""x": [[[1]]]"#.to_owned(), "deeper than 3 levels"),
        (format!(r#""x": {deep}"#), "deeper than 3 levels"),
        (format!(r#""{}": 1"#, "n".repeat(4_000)), "longer than 5 bytes"),
        (r#""a": {"longer": 1}"#.to_owned(), "longer than 5 bytes"),
        (r#""a": 1, "b": 2, "c": 3"#.to_owned(), "at most 2 further fields"),
        (format!(r#""time": {ahead}"#), "more than 1h ahead"),
        (r#""time": "2020-01-01T00:00:00Z""#.to_owned(), "more than 365d before"),
        (format!(r#""x": "{}""#, "x".repeat(64 * 1024)), "65536 bytes"),
    ];
    let within = r#""a": [[1]], "abcde": {"x": 2}"#;
    let body = |fields: &str, n: usize| format!(r#""sequence_id": {n}, {fields}"#);
    let items: Vec<String> = beyond
        .iter()
        .map(|(fields, _)| fields.as_str())
        .chain([within])
        .enumerate()
        .map(|(n, fields)| format!(r#"{{"user_id": "u", "device_id": "d", {}}}"#, body(fields, n)))
        .collect();
    let batch = format!("[{}]", items.join(","));
    let request = system.get("/api/v1/telemetry").build()?;
    let answer = system
        .http
        .post(request.url().clone())
        .bearer_auth(&system.token)
        .header("content-type", "application/json")
        .body(batch)
        .send()
        .await?;
    assert_eq!(answer.status(), 200);
    let verdicts: Value = answer.json().await?;
    for (n, (_, reason)) in beyond.iter().enumerate() {
        let verdict = &verdicts["items"][n];
        let given = verdict["reason"].as_str().unwrap_or_default();
        ensure!(verdict["verdict"] == "rejected" && given.contains(reason), "{reason}: {verdict}");
    }
    assert_eq!(verdicts["items"][beyond.len()]["verdict"], "accepted", "{verdicts}");
    for (n, (fields, _)) in beyond.iter().enumerate() {
        let payload = format!("{{{}}}", body(fields, n));
        system.publish("users/u/devices/d/telemetry", payload.as_bytes()).await?;
    }
    eventually("all are rejected", async || {
        let counters = system.bridge().await?;
        Ok((counters.rejected, counters.in_flight) == (beyond.len() as u64, 0))
    })
    .await?;
    let rejected = system.json("/api/v1/events?type=message_rejected").await?;
    for (n, (_, reason)) in beyond.iter().enumerate() {
        let given = rejected["items"][n]["data"]["reason"].as_str().unwrap_or_default();
        ensure!(given.contains(reason), "{reason}: {given}");
    }
    let metrics = system.get("/metrics").send().await?.text().await?;
    for door in ["http", "mqtt"] {
        let counted =
            format!(r#"tributary_readings_refused_total{{door="{door}",reason="depth"}} 2"#);
        ensure!(metrics.contains(&counted), "{counted}");
    }
    system.caught_up().await
}

/// Rules, too, may quote what cannot be stored: issue 10, number 6.
#[tokio::test]
async fn a_rejection_that_quotes_a_nul_character_does_not_stop_the_bridge() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    system.publish("users/u/config", br#"{"a\u0000b": 1}"#).await?;
    system.publish("users/u/devices/d/telemetry", br#"{"sequence_id": 1}"#).await?;
    eventually("both are settled", async || {
        let counters = system.bridge().await?;
        Ok((counters.appended, counters.rejected, counters.in_flight) == (1, 1, 0))
    })
    .await?;
    let rejected = system.json("/api/v1/events?type=message_rejected").await?;
    let reason = rejected["items"][0]["data"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("a\u{fffd}b"), "{rejected}");
    system.caught_up().await
}

/// A name that the JSON parser of a reader would replace: issue 10, number 25.
#[tokio::test]
async fn a_private_name_of_serde_json_is_data_from_the_door_to_the_answer() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let private = r#"{"$serde_json::private::RawValue": "[1"}"#;
    let post = async |path: &str, body: String| -> Result<String> {
        let url = format!("{}{path}", system.url());
        let request = system.http.post(url).bearer_auth(&system.token);
        let request = request.header("content-type", "application/json").body(body);
        Ok(request.send().await?.error_for_status()?.text().await?)
    };
    let reading =
        format!(r#"[{{"user_id": "u", "device_id": "d", "sequence_id": 1, "x": {private}}}]"#);
    let verdicts = post("/api/v1/telemetry", reading).await?;
    ensure!(verdicts.contains("accepted"), "{verdicts}");
    let document = post("/data", format!(r#"{{"x": {private}}}"#)).await?;
    ensure!(document.contains(private), "{document}");
    system.caught_up().await?;
    let name = "$serde_json::private::RawValue";
    for path in [
        "/api/v1/users/u/devices/d",
        "/api/v1/users/u/devices/d/readings",
        "/api/v1/users/u/devices/d/readings?fields=x",
        "/api/v1/streams/device-u~d",
        "/data",
    ] {
        let text = system.get(path).send().await?.error_for_status()?.text().await?;
        ensure!(text.contains(name) && text.contains("[1"), "{path}: {text}");
    }
    Ok(())
}
