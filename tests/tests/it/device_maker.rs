//! What the maker of a device relies on: ranges and pages of buckets, paths to fields, tables, clocks that
//! are not set, counters that restart, and reasons of refusals.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{System, eventually};

const READINGS: &str = "/api/v1/users/u/devices/d/readings";

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().cloned().unwrap_or_default()
}

/// Sends readings over HTTP and waits until the read model shows them. Returns the verdicts.
async fn send(system: &System, readings: &[Value]) -> Result<Vec<String>> {
    let mut verdicts = Vec::new();
    for batch in readings.chunks(1_000) {
        let caller = system.caller(system.token.clone());
        let answer = caller.command(Method::POST, "/api/v1/telemetry", &json!(batch)).await?;
        let of_batch = items(&answer);
        verdicts.extend(of_batch.iter().map(|item| {
            let reason = item["reason"].as_str().map(|reason| format!(": {reason}"));
            format!(
                "{}{}",
                item["verdict"].as_str().unwrap_or_default(),
                reason.unwrap_or_default()
            )
        }));
    }
    Ok(verdicts)
}

/// All items of a list, page by page.
async fn all(system: &System, path: &str) -> Result<Vec<Value>> {
    let (mut found, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(page) = next {
        let response = system.get(&page).send().await?;
        let status = response.status();
        let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
        next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        let text = response.text().await?;
        ensure!(status == StatusCode::OK, "{page}: {status}: {text}");
        found.extend(items(&serde_json::from_str(&text)?));
    }
    Ok(found)
}

/// Asks for a table, and returns its lines.
async fn table(system: &System, query: &str) -> Result<(Vec<String>, bool)> {
    let request = system.get(&format!("{READINGS}?{query}")).header("Accept", "text/csv");
    let response = request.send().await?;
    let status = response.status();
    let has_next = response.headers().contains_key("link");
    let text = response.text().await?;
    ensure!(status == StatusCode::OK, "{query}: {status}: {text}");
    Ok((text.lines().map(str::to_owned).collect(), has_next))
}

/// Ranges that begin and end anywhere, pages of any length and buckets of any width, against the readings
/// themselves.
#[tokio::test]
async fn buckets_count_the_readings_of_the_range_on_pages_that_lose_no_row() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let start = DateTime::parse_from_rfc3339("2026-03-01T10:00:00Z")?.with_timezone(&Utc);
    let time =
        |n: i64| start + TimeDelta::milliseconds((n * 7_919_000 + n * n * 137) % 180_000_000);
    let value = |n: i64| n % 17;
    let readings: Vec<_> = (0..600)
        .map(|n| {
            json!({"user_id": "u", "device_id": "d", "sequence_id": n, "time": time(n),
                   "temperature": value(n), "power": {"volts": 2 * value(n), "phases": [value(n)]},
                   "mode": {"name": "auto"}})
        })
        .collect();
    send(&system, &readings).await?;
    for (from, to) in [
        ("2026-03-01T10:30:00Z", "2026-03-01T11:30:00Z"),
        ("2026-03-01T10:30:11.5Z", "2026-03-01T10:30:53Z"),
        ("2026-03-01T10:59:59.999Z", "2026-03-03T01:00:00.001Z"),
        ("2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"),
        ("2026-03-01T13:13:13+01:00", "2026-03-02T23:59:59.000001-05:00"),
    ] {
        let range =
            [from, to].map(|time| DateTime::parse_from_rfc3339(time).map(|time| time.to_utc()));
        let [Ok(first), Ok(end)] = range else { panic!("times") };
        for (bucket, minutes) in
            [("1m", 1), ("7m", 7), ("1h", 60), ("5h", 300), ("1d", 1440), ("2d", 2880)]
        {
            let mut expected = BTreeMap::<(DateTime<Utc>, &str), (i64, i64, i64)>::new();
            for n in (0..600).filter(|n| (first..end).contains(&time(*n))) {
                let start = time(n).timestamp().div_euclid(60 * minutes) * 60 * minutes;
                let start = DateTime::from_timestamp(start, 0).context("a time")?;
                for (field, value) in [("temperature", value(n)), ("power.volts", 2 * value(n))] {
                    let known = expected.entry((start, field)).or_insert((0, value, value));
                    *known = (known.0 + 1, known.1.min(value), known.2.max(value));
                }
            }
            let query =
                format!("bucket={bucket}&fields=temperature,/power/volts&from={from}&to={to}")
                    .replace('+', "%2B");
            for (order, limit) in [("asc", 500), ("desc", 7), ("asc", 1 + 40 / minutes)] {
                let path = format!("{READINGS}?{query}&order={order}&limit={limit}");
                let found = all(&system, &path).await?;
                let starts: Vec<_> = found.iter().map(|row| row["time"].as_str()).collect();
                let sorted = if order == "asc" {
                    starts.is_sorted()
                } else {
                    starts.is_sorted_by(|one, next| one >= next)
                };
                ensure!(sorted, "{path}: {starts:?}");
                let mut rest = expected.clone();
                for row in &found {
                    let start = row["time"].as_str().context("a time")?.parse::<DateTime<Utc>>()?;
                    let field = row["field"].as_str().context("a field")?;
                    let number = |name: &str| row[name].as_f64().unwrap_or_default();
                    let expected =
                        rest.remove(&(start, field)).with_context(|| format!("{path}: {row}"))?;
                    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                    let expected = [expected.0, expected.1, expected.2].map(|number| number as f64);
                    let found = [number("count"), number("min"), number("max")];
                    let same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
                    assert!(same, "{path}: {row}");
                }
                ensure!(rest.is_empty(), "{path} lost {rest:?}");
            }
        }
    }

    // One row for each bucket and a column for each field, of everything that is asked for.
    let (lines, has_next) =
        table(&system, "bucket=1h&fields=power.volts,temperature&wide=count").await?;
    assert_eq!(lines[0], "time,power.volts,temperature");
    let sum = lines[1..]
        .iter()
        .filter_map(|line| line.split(',').nth(1)?.parse::<i64>().ok())
        .sum::<i64>();
    assert_eq!((sum, has_next), (600, false));
    let (lines, has_next) = table(&system, "fields=power.phases.0,mode").await?;
    assert_eq!((lines.len(), has_next), (601, false), "more than a page");
    ensure!(lines[0].ends_with(",power.phases.0,mode"), "{}", lines[0]);
    ensure!(lines[1].ends_with(r#",0,"{""name"":""auto""}""#), "{}", lines[1]);
    let (lines, has_next) = table(&system, "limit=5").await?;
    assert_eq!((lines.len(), has_next), (6, true));

    // A field that the device has not sent is refused with those that it has.
    for (query, words) in [
        (
            "fields=power.vlts",
            "the device has no field `power.vlts`; it has `temperature`, `battery`",
        ),
        ("fields=mode.name,none", "no field `none`"),
        ("bucket=1h&fields=mode.name", "`mode.name` has no buckets"),
        (
            "bucket=1h&fields=power.vlts",
            "with buckets are `temperature`, `battery`, `power.phases.0`",
        ),
        ("fields=a..b", "`a..b`: a field is named by"),
        ("cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsMV0&bucket=1h", "must be a cursor"),
    ] {
        let response = system.get(&format!("{READINGS}?{query}")).send().await?;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let problem: Value = response.json().await?;
        let detail = problem["errors"][0]["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(words), "{query}: {problem}");
    }
    let names = all(&system, &format!("{READINGS}?fields=mode.name&limit=500")).await?;
    assert_eq!((names.len(), &names[0]["mode.name"]), (600, &json!("auto")));
    Ok(())
}

/// 480 fields a day on pages of 100: each row once.
#[tokio::test]
async fn a_page_that_ends_within_a_bucket_continues_there() -> Result<()> {
    let system = System::start().await?;
    let many = [("READING_MAX_FIELDS", "512"), ("TELEMETRY_FIELDS_PER_DEVICE", "512")];
    let mut process = system.serve_with(&["http", "projector"], &many).await?;
    process.logs("telemetry limits changed").await?;
    let readings: Vec<_> = (1..=2)
        .map(|day| {
            let mut reading = json!({"user_id": "u", "device_id": "d", "sequence_id": day,
                "time": format!("2026-03-0{day}T12:00:00Z")});
            for field in 0..480 {
                reading[format!("f{field:03}")] = json!(field);
            }
            reading
        })
        .collect();
    send(&system, &readings).await?;
    for order in ["asc", "desc"] {
        let rows = all(&system, &format!("{READINGS}?bucket=1d&order={order}&limit=100")).await?;
        let mut keys: Vec<_> = rows.iter().map(|row| (&row["time"], &row["field"])).collect();
        keys.sort_unstable_by_key(|(time, field)| (time.to_string(), field.to_string()));
        keys.dedup();
        assert_eq!((rows.len(), keys.len()), (960, 960), "{order}");
    }
    Ok(())
}

#[tokio::test]
async fn views_count_in_the_minutes_of_the_range() -> Result<()> {
    let system = System::start().await?;
    let ages = [("PAGE_VIEW_MAX_AGE", "10000d")];
    let _process = system.serve_with(&["http", "projector"], &ages).await?;
    let view = |time: &str, session: &str| json!({"path": "/", "session_id": session, "viewed_at": format!("2026-03-01T{time}Z")});
    let views = json!([
        view("10:29:59", "a"),
        view("10:30:00", "a"),
        view("10:59:00", "a"),
        view("11:29:59", "b"),
        view("11:30:00", "c"),
    ]);
    let caller = system.caller(system.token.clone());
    caller.command(Method::POST, "/api/v1/page-views", &views).await?;
    let range = "from=2026-03-01T10:30:00Z&to=2026-03-01T11:30:00Z&order=asc";
    for (bucket, expected) in
        [("1h", vec![(2, 1), (1, 1)]), ("1d", vec![(3, 2)]), ("2h", vec![(3, 2)])]
    {
        for limit in [1, 100] {
            let path = format!("/api/v1/page-views/stats?{range}&bucket={bucket}&limit={limit}");
            let rows = all(&system, &path).await?;
            let counts: Vec<_> = rows
                .iter()
                .filter_map(|row| Some((row["views"].as_i64()?, row["unique_sessions"].as_i64()?)))
                .collect();
            assert_eq!(counts, expected, "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_reading_of_a_clock_that_is_not_set_is_marked_and_judged() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector", "worker"]).await?;
    let caller = system.caller(system.token.clone());
    let rules = json!({"temperature_max": 30});
    caller.command(Method::PUT, "/api/v1/users/u/config", &rules).await?;
    let reading = |sequence: i64, time: Value| {
        json!({"user_id": "u", "device_id": "d", "sequence_id": sequence, "time": time,
               "temperature": 20 + 15 * (sequence % 2)})
    };
    let sent = [
        reading(1, json!("2000-01-01T00:00:07Z")),
        reading(2, json!(12_000)),
        reading(3, json!("1970-01-01T00:00:13Z")),
        reading(4, json!(Utc::now())),
    ];
    let before = Utc::now();
    assert_eq!(send(&system, &sent).await?, ["accepted"; 4]);
    assert_eq!(send(&system, &sent).await?, ["duplicate"; 4], "a redelivery");
    let rows = all(&system, &format!("{READINGS}?order=desc")).await?;
    let shown: Vec<_> = rows.iter().map(|row| (&row["sequence_id"], &row["unset_time"])).collect();
    let unset = |text: &str| json!(text);
    assert!(shown.contains(&(&json!(1), &unset("2000-01-01T00:00:07Z"))), "{shown:?}");
    assert!(shown.contains(&(&json!(2), &unset("1970-01-01T00:00:12Z"))), "{shown:?}");
    assert!(shown.contains(&(&json!(4), &Value::Null)), "{shown:?}");
    for row in &rows {
        let time = row["time"].as_str().context("a time")?.parse::<DateTime<Utc>>()?;
        ensure!(time >= before - TimeDelta::seconds(1), "{row}");
    }
    eventually("both breaches are alerts", async || {
        let alerts = system.json("/api/v1/events?type=alert_raised").await?;
        Ok(items(&alerts).len() == 2)
    })
    .await
}

#[tokio::test]
async fn a_counter_that_restarts_loses_no_reading_and_a_conflict_is_shown() -> Result<()> {
    let system = System::start().await?;
    let silence = [("READING_RESTART_SILENCE", "1h")];
    let process = system.serve_with(&[], &silence).await?;
    let reading = |sequence: i64, temperature: i64| {
        json!({"sequence_id": sequence, "temperature": temperature}).to_string() + "\n"
    };
    let readings = |base: i64| (1..=3).map(|n| reading(n, base + n)).collect::<String>();
    let topic = "users/u/devices/d/telemetry";
    let settled = async |appended: u64, duplicate: u64, rejected: u64| {
        eventually("the messages are settled", async || {
            let counters = system.bridge().await?;
            let found = (counters.appended, counters.duplicate, counters.rejected);
            ensure!(found.0 <= appended && found.2 <= rejected, "{found:?}");
            Ok(found == (appended, duplicate, rejected))
        })
        .await
    };
    system.publish_lines(topic, &readings(10)).await?;
    settled(3, 0, 0).await?;
    // Other values without a birth or silence: refused, counted and shown.
    system.publish_lines(topic, &readings(20)).await?;
    settled(3, 0, 3).await?;
    // A birth in between: the counter has restarted. A redelivery is a duplicate.
    system.publish("users/u/devices/d/status", br#"{"online": true, "session_seq": 2}"#).await?;
    settled(4, 0, 3).await?;
    system.publish_lines(topic, &readings(20)).await?;
    settled(7, 0, 3).await?;
    system.publish_lines(topic, &(readings(20) + &readings(10))).await?;
    settled(7, 6, 3).await?;
    system.publish("users/u/devices/none/telemetry", b"not json").await?;
    settled(7, 6, 4).await?;
    system.caught_up().await?;

    let rows = all(&system, READINGS).await?;
    let values: Vec<_> = rows.iter().map(|row| row["temperature"].as_f64()).collect();
    assert_eq!(values, [11.0, 12.0, 13.0, 21.0, 22.0, 23.0].map(Some), "{rows:#?}");
    let device = system.json("/api/v1/users/u/devices/d").await?;
    assert_eq!((&device["readings"], &device["rejected"]), (&json!(6), &json!(3)));
    let refused = all(&system, "/api/v1/users/u/devices/d/rejections?limit=2").await?;
    assert_eq!(refused.len(), 3);
    let reason = refused[0]["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("`sequence_id` 3 was recorded before with other values"), "{reason}");
    assert_eq!(refused[0]["payload"], reading(3, 23).trim_end());
    let everything = all(&system, "/api/v1/rejections?user_id=u").await?;
    assert_eq!((everything.len(), &everything[0]["device_id"]), (4, &json!("none")));
    let of_none = all(&system, "/api/v1/users/u/devices/none/rejections").await?;
    assert_eq!(of_none.len(), 1);
    let unknown = system.get("/api/v1/users/u/devices/nowhere/rejections").send().await?;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let other = system.caller(system.token_for("another-user", "user").await?);
    assert!(items(&other.json("/api/v1/rejections").await?).is_empty());
    let listed = system.run(&["devices", "rejections", "u", "none"]).await?;
    ensure!(listed.contains("not a reading") && listed.contains("not json"), "{listed}");
    let metrics = system.get("/metrics").send().await?.text().await?;
    for line in [
        r#"tributary_readings_refused_total{door="mqtt",reason="repeated"} 3"#,
        "tributary_readings_restarted_total 3",
    ] {
        ensure!(metrics.contains(line), "{line}: {metrics}");
    }
    // Over HTTP the reason is in the verdict. After silence, the counter has restarted.
    let again = json!({"user_id": "u", "device_id": "d", "sequence_id": 3, "temperature": 99});
    let verdicts = send(&system, std::slice::from_ref(&again)).await?;
    ensure!(
        verdicts[0].starts_with("rejected: `sequence_id` 3 was recorded before"),
        "{verdicts:?}"
    );
    process.terminate().await?;
    let silence = [("READING_RESTART_SILENCE", "0s")];
    let _process = system.serve_with(&["http", "projector"], &silence).await?;
    assert_eq!(send(&system, std::slice::from_ref(&again)).await?, ["accepted"]);
    assert_eq!(send(&system, &[again]).await?, ["duplicate"]);
    Ok(())
}
