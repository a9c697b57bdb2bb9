//! Readings, from a device to the read model, stored once.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{System, eventually};

const TOPIC: &str = "users/u1/devices/d1/telemetry";

fn lines(count: usize) -> String {
    (0..count)
        .map(|n| format!("{{\"sequence_id\":{n},\"temperature\":{}.25,\"load\":{n}}}\n", n % 50))
        .collect()
}

#[tokio::test]
async fn ten_thousand_readings_sent_twice_are_stored_once() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    for _ in 0..2 {
        system.publish_lines(TOPIC, &lines(10_000)).await?;
    }
    eventually("the bridge has settled 20,000 messages", async || {
        let counters = system.bridge().await?;
        assert_eq!(
            counters.received,
            counters.appended + counters.duplicate + counters.rejected + counters.in_flight
        );
        Ok(counters.received == 20_000 && counters.in_flight == 0)
    })
    .await?;
    let counters = system.bridge().await?;
    assert_eq!((counters.appended, counters.duplicate, counters.rejected), (10_000, 10_000, 0));
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, 10_000);

    let device = system.json("/api/v1/users/u1/devices/d1").await?;
    assert_eq!(device["readings"], 10_000);
    assert_eq!(device["sequence_id"], 9_999);
    Ok(())
}

#[tokio::test]
async fn an_invalid_reading_is_recorded_as_rejected_and_stops_no_other() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    system.publish(TOPIC, b"not json").await?;
    system.publish(TOPIC, br#"{"temperature": 21.5}"#).await?;
    system.publish(TOPIC, &vec![b'x'; 2 * 1024 * 1024]).await?;
    system.publish(TOPIC, br#"{"sequence_id": 1, "note": "a\u0000b"}"#).await?;
    system.publish(TOPIC, br#"{"sequence_id": 2, "note": "a\\u0000b"}"#).await?;
    eventually("all are settled", async || {
        let counters = system.bridge().await?;
        Ok((counters.appended, counters.rejected, counters.in_flight) == (1, 4, 0))
    })
    .await?;
    let rejected = system.json("/api/v1/events?type=message_rejected").await?;
    let items = rejected["items"].as_array().expect("a list");
    assert_eq!(items.len(), 4);
    assert_eq!(items[0]["data"]["payload"], "not json");
    assert!(items[1]["data"]["reason"].as_str().is_some_and(|text| text.contains("sequence_id")));
    assert_eq!(items[2]["data"]["size"], 2 * 1024 * 1024);
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_batch_over_http_returns_a_result_per_reading() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let reading = |sequence: i64, extra: Value| {
        let mut reading = json!({"user_id": "u", "device_id": "d", "sequence_id": sequence});
        reading
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().cloned().unwrap_or_default());
        reading
    };
    let batch = json!([
        reading(1, json!({"time": "2026-01-01T00:00:10Z", "temperature": 20.0})),
        reading(2, json!({"time": "2026-01-01T00:00:20Z", "temperature": 22.0, "gps": {"lat": 1}})),
        reading(1, json!({"time": "2026-01-01T00:00:10Z", "temperature": 20.0})),
        reading(3, json!({"time": "2026-01-01T00:05:00Z", "temperature": 30.0, "note": "\0"})),
        {"device_id": "d"},
        reading(4, json!({"time": "2026-01-01T00:05:00Z", "temperature": 40.0, "co2": 400})),
    ]);
    let answer = system.post("/api/v1/telemetry", &batch).send().await?;
    assert_eq!(answer.status(), 200);
    let position = answer.headers()["tributary-position"].to_str()?.to_owned();
    let verdicts: Value = answer.json().await?;
    let words: Vec<_> = verdicts["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["verdict"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(words, ["accepted", "accepted", "duplicate", "rejected", "rejected", "accepted"]);

    let path =
        "/api/v1/users/u/devices/d/readings?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z";
    let get = async |query: &str| -> Result<Value> {
        let path = format!("{path}{query}");
        let answer = system.get(&path).header("Tributary-Min-Position", &position).send().await?;
        assert_eq!(answer.status(), 200, "{path}");
        Ok(answer.json().await?)
    };
    let raw = get("&order=asc").await?;
    let sequences: Vec<_> = raw["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["sequence_id"].clone())
        .collect();
    assert_eq!(sequences, [1, 2, 4]);
    let minutes = get("&bucket=1m&fields=temperature&order=asc").await?;
    assert_eq!(minutes["items"][0]["count"], 2);
    assert_eq!(minutes["items"][0]["avg"], 21.0);
    assert_eq!(minutes["items"][0]["first"], 20.0);
    let hours = get("&bucket=1h&fields=temperature").await?;
    assert_eq!(hours["items"][0]["count"], 3);
    assert_eq!(hours["items"][0]["max"], 40.0);
    let tens = get("&bucket=10m&fields=co2").await?;
    assert_eq!(tens["items"][0]["last"], 400.0);
    Ok(())
}

/// Readings of other weeks, late ones and those out of order are stored in the partition of their
/// week, which TimescaleDB creates or, without it, the projection.
#[tokio::test]
async fn readings_are_partitioned_by_week() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let times = [
        "2026-03-04T12:00:00Z",
        "2025-12-31T23:59:59.999999Z",
        "2026-03-04T11:00:00Z",
        "2024-02-29T00:00:00Z",
        "2000-01-01T00:00:00Z",
        "2026-03-04T12:00:01Z",
    ];
    for (sequence, time) in times.iter().enumerate() {
        let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": sequence,
                              "time": time, "temperature": 1.0}]);
        system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    let readings = system
        .json(
            "/api/v1/users/u/devices/d/readings?order=asc\
             &from=1990-01-01T00:00:00Z&to=2040-01-01T00:00:00Z",
        )
        .await?;
    let items = readings["items"].as_array().expect("a list");
    let sequences: Vec<_> = items.iter().map(|item| item["sequence_id"].clone()).collect();
    assert_eq!(sequences, [4, 3, 1, 2, 0, 5]);

    let available = "select count(*) from pg_available_extensions where name = 'timescaledb'";
    let (parted, parts) = if system.number(available).await? == 0 {
        (
            "select count(*) from pg_partitioned_table where partrelid = 'telemetry.reading'::regclass",
            "select count(distinct tableoid) from telemetry.reading",
        )
    } else {
        (
            "select count(*) from timescaledb_information.hypertables
             where (hypertable_schema, hypertable_name) = ('telemetry', 'reading')",
            "select count(*) from timescaledb_information.chunks
             where (hypertable_schema, hypertable_name) = ('telemetry', 'reading')",
        )
    };
    assert_eq!((system.number(parted).await?, system.number(parts).await?), (1, 4));
    Ok(())
}

/// Compares the read model with the log, for readings that are late, repeated and out of order.
#[tokio::test]
async fn rollups_agree_with_the_readings() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let start = 1_767_225_600_000_i64; // 2026-01-01 in milliseconds
    for step in [7_i64, 3, 11] {
        let readings: Vec<Value> = (0..900)
            .map(|n| {
                let time = start + (n * step * 7_919) % 90_000_000;
                json!({"user_id": "u", "device_id": format!("d{}", n % 3), "sequence_id": n * step,
                       "time": time, "temperature": f64::from(u16::try_from(n % 97).expect("small")) / 7.0,
                       "battery": n % 100})
            })
            .collect();
        let answer = system.post("/api/v1/telemetry", &json!(readings)).send().await?;
        assert_eq!(answer.status(), 200);
    }
    system.caught_up().await?;
    let wrong = system
        .number(
            "with value as (
               select device, 'temperature' as field, temperature as v, time, position
               from telemetry.reading
               union all
               select device, 'battery', battery, time, position from telemetry.reading
             ), expected as (
               select device, field, width,
                      date_bin(make_interval(secs => width), time, 'epoch') as bucket,
                      count(*) as count, sum(round((v * 1e9)::numeric)) as sum, min(v) as min,
                      max(v) as max,
                      (array_agg(v order by time, position))[1] as first,
                      (array_agg(v order by time desc, position desc))[1] as last
               from value cross join unnest(array[60, 3600, 86400]) as w (width)
               group by 1, 2, 3, 4
             )
             select count(*) from expected e
             full join telemetry.rollup r using (device, field, width, bucket)
             where (e.count, e.min, e.max, e.first, e.last)
                   is distinct from (r.count, r.min, r.max, r.first, r.last)
                or abs(e.sum - r.sum) > e.count",
        )
        .await?;
    assert_eq!(wrong, 0, "rollups that disagree with the readings");
    let wrong = system
        .number(
            "select count(*) from telemetry.device d
             cross join lateral (
               select count(*) over () as readings, time, sequence_id from telemetry.reading r
               where r.device = d.number
               order by time desc, position desc limit 1) last
             where (d.readings, d.time, d.sequence_id)
                   is distinct from (last.readings, last.time, last.sequence_id)",
        )
        .await?;
    assert_eq!(wrong, 0, "devices that disagree with their readings");
    Ok(())
}
