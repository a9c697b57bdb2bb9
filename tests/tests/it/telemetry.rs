//! Readings, from a device to the read model, stored once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::rebuild::run;

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

/// A device that replays a reading a week since the year 2000, newest first. TimescaleDB makes its own
/// partitions.
#[tokio::test]
async fn readings_of_all_times_are_in_few_partitions() -> Result<()> {
    let system = System::start().await?;
    let limits = [
        ("TELEMETRY_PARTITIONS_BACK", "70d"),
        ("TELEMETRY_PARTITIONS_AHEAD", "1d"),
        ("READING_EARLIEST_TIME", "2000-01-01T00:00:00Z"),
    ];
    let mut process = system.serve_with(&["http", "projector"], &limits).await?;
    process.logs("telemetry limits changed").await?;
    let now = chrono::Utc::now();
    let weeks = (now - chrono::DateTime::UNIX_EPOCH).num_weeks() - 30 * 52 - 6;
    let readings: Vec<_> = (0..weeks)
        .map(|week| {
            let time = now - chrono::TimeDelta::weeks(week);
            json!({"user_id": "u", "device_id": "d", "sequence_id": week, "time": time,
                   "temperature": 1.0})
        })
        .collect();
    ensure!(readings.len() > 1_000, "{}", readings.len());
    for batch in readings.chunks(1_000) {
        system.post("/api/v1/telemetry", &json!(batch)).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, weeks);
    let first = system.json("/api/v1/users/u/devices/d/readings?order=asc&limit=2").await?;
    assert_eq!(first["items"][0]["sequence_id"], weeks - 1);
    assert_eq!(first["items"][1]["sequence_id"], weeks - 2);
    let available = "select count(*) from pg_available_extensions where name = 'timescaledb'";
    if system.number(available).await? > 0 {
        return Ok(());
    }
    // This week, ten before it, all the older ones, and the default partition.
    let partitions =
        "select count(*) from pg_inherits where inhparent = 'telemetry.reading'::regclass";
    assert_eq!(system.number(partitions).await?, 13);
    let old = "select count(*) from telemetry.reading_old";
    assert_eq!(system.number(old).await?, weeks - 11);

    // A week that is far ahead has no partition, and gets one with its rows when it comes nearer.
    let mut owner = system.admin.acquire().await?;
    sqlx::raw_sql(
        "set search_path = telemetry;
         insert into reading (device, time, received_at, sequence_id, position, boot_id)
         select device, now() + interval '28 days', now(), 0, -1, ''
         from (select number as device from device) d;
         select ensure_partitions(array[date_trunc('week', now() + interval '28 days')::date])",
    )
    .execute(&mut *owner)
    .await?;
    let later = "select count(*) from telemetry.reading_later";
    assert_eq!(system.number(later).await?, 1);
    sqlx::raw_sql(
        "update limits set weeks_ahead = 4;
         select ensure_partitions(array[date_trunc('week', now() + interval '28 days')::date])",
    )
    .execute(&mut *owner)
    .await?;
    assert_eq!(system.number(later).await?, 0);
    assert_eq!(system.number(partitions).await?, 14);
    assert_eq!(system.number("select count(*) from telemetry.reading").await?, weeks + 1);
    sqlx::query("delete from reading where position = -1").execute(&mut *owner).await?;
    Ok(())
}

/// New field names in every reading of a thousand devices: each device has rollups of the first ones
/// that it sent, and the values of the others are counted.
#[tokio::test]
async fn a_device_has_rollups_of_a_limited_number_of_fields() -> Result<()> {
    let system = System::start().await?;
    let mut process =
        system.serve_with(&["http", "projector"], &[("TELEMETRY_FIELDS_PER_DEVICE", "20")]).await?;
    process.logs("telemetry limits changed").await?;
    for (sequence, fields) in [(0, 0..15), (1, 10..70)] {
        let readings: Vec<_> = (0..1_000)
            .map(|device| {
                let mut reading = json!({"user_id": "u", "device_id": format!("d{device}"),
                    "sequence_id": sequence, "time": "2026-01-01T00:00:00Z", "temperature": 21.5});
                for field in fields.clone() {
                    reading[format!("f{device}_{field:02}")] = json!(field);
                }
                reading
            })
            .collect();
        let answer = system.post("/api/v1/telemetry", &json!(readings)).send().await?;
        let verdicts: Value = answer.error_for_status()?.json().await?;
        let accepted = verdicts["items"].as_array().into_iter().flatten();
        assert_eq!(accepted.filter(|item| item["verdict"] == "accepted").count(), 1_000);
    }
    system.caught_up().await?;
    let rollups = "select count(*) from telemetry.rollup where width = 60";
    assert_eq!(system.number(rollups).await?, 21 * 1_000);
    let device = system.json("/api/v1/users/u/devices/d7").await?;
    assert_eq!(device["values_not_aggregated"], 50);
    assert_eq!(device["extra_data"]["f7_69"], 69, "kept with the reading");
    let path = "/api/v1/users/u/devices/d7/readings?bucket=1d&fields=f7_19,temperature";
    let beyond = system.get(&path.replace("f7_19", "f7_19,f7_20")).send().await?;
    assert_eq!(beyond.status(), 422);
    let problem: Value = beyond.json().await?;
    let detail = problem["errors"][0]["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("`f7_20` has no buckets") && detail.contains("`f7_19`"), "{problem}");
    let days = system.json(path).await?;
    let fields: Vec<_> = days["items"].as_array().into_iter().flatten().collect();
    assert_eq!(fields.len(), 2, "{days:#}");
    assert_eq!((&fields[0]["field"], &fields[0]["last"]), (&json!("f7_19"), &json!(19.0)));
    assert_eq!((&fields[1]["field"], &fields[1]["count"]), (&json!("temperature"), &json!(2)));
    let metrics = system.get("/metrics").send().await?.error_for_status()?.text().await?;
    ensure!(metrics.contains("tributary_telemetry_values_not_aggregated_total 50000"), "{metrics}");
    // A rebuild admits the same fields.
    let (code, ended) = run(&system, &["rebuild", "telemetry", "--verify", "--json"]).await?;
    assert_eq!(code, Some(0), "{ended:#}");
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
               -- A row of an hour lacks the open minute of the device, a row of a day the open hour.
               select device, field, width,
                      date_bin(make_interval(secs => width), v.time, 'epoch') as bucket,
                      count(*) as count, sum(v::text::numeric) as sum, min(v) as min,
                      max(v) as max,
                      (array_agg(v order by v.time, position))[1] as first,
                      (array_agg(v order by v.time desc, position desc))[1] as last
               from value v join telemetry.device d on d.number = v.device
               cross join (values (60, '0'), (3600, '1 minute'), (86400, '1 hour')) as w (width, open)
               where width = 60 or v.time < date_bin(nullif(open, '0')::interval, d.time, 'epoch')
               group by 1, 2, 3, 4
             )
             select count(*) from expected e
             full join telemetry.rollup r using (device, field, width, bucket)
             where (e.count, e.sum, e.min, e.max, e.first, e.last)
                   is distinct from (r.count, r.sum, r.min, r.max, r.first, r.last)",
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

    // The open minute and the open hour are in the buckets that the API lists, whatever their width.
    for bucket in ["1m", "7m", "1h", "5h", "1d", "2d"] {
        let mut counts = 0;
        let mut path = Some(format!(
            "/api/v1/users/u/devices/d1/readings?bucket={bucket}&fields=battery&limit=50"
        ));
        while let Some(page) = path {
            let response = system.get(&page).send().await?.error_for_status()?;
            let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
            path =
                link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            let buckets: Value = response.json().await?;
            let buckets = buckets["items"].as_array().into_iter().flatten();
            counts += buckets.filter_map(|bucket| bucket["count"].as_i64()).sum::<i64>();
        }
        assert_eq!(counts, 900, "{bucket}");
    }
    let (code, ended) = run(&system, &["rebuild", "telemetry", "--verify", "--json"]).await?;
    assert_eq!(code, Some(0), "{ended:#}");
    Ok(())
}
