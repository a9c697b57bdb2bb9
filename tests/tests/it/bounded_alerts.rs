//! Bounds of alerts: events of a rule for a device, and dry runs in size and number.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Caller, System, eventually};

const USER: &str = "ada";

/// Readings of one device that breach every rule and breach none, in turn.
async fn alternate(owner: &Caller, count: i64) -> Result<()> {
    let readings = (0..count).map(|n| {
        json!({"user_id": USER, "device_id": "d", "sequence_id": n, "x": if n % 2 == 0 { 500 } else { -1 },
               "time": format!("2026-01-01T00:00:{n:02}Z")})
    });
    let readings: Vec<_> = readings.collect();
    owner.command(Method::POST, "/api/v1/telemetry", &json!(readings)).await?;
    Ok(())
}

fn rules(count: i64) -> Value {
    let rules = (0..count).map(|n| json!({"key": "x", "operator": ">", "threshold": n}));
    json!({"rules": rules.collect::<Vec<_>>()})
}

#[tokio::test]
async fn alternating_readings_cause_a_bounded_number_of_events() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "worker", "projector"]).await?;
    let owner = system.caller(system.token_for(USER, "user").await?);
    let config = format!("/api/v1/users/{USER}/config");
    owner.command(Method::PUT, &config, &rules(100)).await?;
    alternate(&owner, 20).await?;
    eventually("the readings are evaluated", async || {
        let sql = "select (position >= (select max(position) from log.event
                                        where event_type = 'reading_recorded'))::int::bigint
                   from log.checkpoint where consumer = 'alert_watch'";
        Ok(system.number(sql).await? == 1)
    })
    .await?;
    let events: Vec<(String, i64)> = sqlx::query_as(
        "select event_type, count(*) from log.event where stream_id ^@ 'alert-' group by 1 order by 1",
    )
    .fetch_all(&system.admin)
    .await?;
    let counted = [("alert_cleared", 500), ("alert_raised", 500), ("alert_suppressed", 100)];
    assert_eq!(events, counted.map(|(event_type, count)| (event_type.to_owned(), count)));
    system.caught_up().await?;
    let alert = owner.json("/api/v1/alerts?limit=1").await?["items"][0].clone();
    assert_eq!(alert["state"], "cleared");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_is_bounded_in_size() -> Result<()> {
    let system = System::start().await?;
    let bounds = [("DRY_RUN_ALERTS", "7"), ("DRY_RUN_READINGS", "15")];
    let _process = system.serve_with(&["http", "projector"], &bounds).await?;
    let owner = system.caller(system.token_for(USER, "user").await?);
    alternate(&owner, 20).await?;
    let run = async |count: i64| -> Result<Value> {
        let mut body = rules(count);
        body["device_id"] = "d".into();
        owner.command(Method::POST, "/api/v1/alerts/dry-run", &body).await
    };
    let large = run(100).await?;
    assert_eq!(large["alerts"].as_array().map(Vec::len), Some(7));
    assert_eq!((&large["truncated"], &large["readings"]), (&json!(true), &json!(1)));
    let long = run(0).await?;
    assert_eq!((&long["truncated"], &long["readings"]), (&json!(true), &json!(15)));
    Ok(())
}

#[tokio::test]
async fn a_dry_run_beyond_the_number_is_refused() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http", "projector"], &[("DRY_RUNS", "1")]).await?;
    let owner = system.caller(system.token_for(USER, "user").await?);
    alternate(&owner, 2).await?;
    let mut body = rules(1);
    body["device_id"] = "d".into();
    let send = || owner.post("/api/v1/alerts/dry-run", &body).send();
    let mut held = system.admin.begin().await?;
    sqlx::query("lock table log.event in access exclusive mode").execute(&mut *held).await?;
    let meanwhile = async {
        eventually("the first reads the log", async || {
            let sql = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'
                         and query like '%stream_id = $1%'";
            Ok(system.number(sql).await? > 0)
        })
        .await?;
        let second = send().await?;
        held.rollback().await?;
        anyhow::Ok(second)
    };
    let (first, second) = tokio::join!(send(), meanwhile);
    let second = second?;
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(second.json::<Value>().await?["code"], "busy");
    assert_eq!(first?.status(), 200);
    assert_eq!(send().await?.status(), 200);
    let metrics = system.get("/metrics").send().await?.text().await?;
    assert!(metrics.contains("tributary_dry_runs_refused_total 1"), "{metrics}");
    Ok(())
}
