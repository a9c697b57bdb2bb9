//! An event that cannot be applied parks its own stream, or itself if it is an independent fact, and
//! nothing else. An event of a newer build is waited for.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::orders::{customer, place, product, until};
use crate::parked::{inject, inject_version, parked, repair};

#[tokio::test]
async fn a_poison_event_parks_its_stream_and_no_other() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector"]).await?;
    let mut locations = Vec::new();
    for n in 0..3 {
        let answer = system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?;
        locations.push(answer.headers()["location"].to_str()?.to_owned());
    }
    let id = locations[1].rsplit('/').next().unwrap_or_default();
    let stream = format!("work-{id}");
    inject(&system, &stream, "work_claimed", r#"{"worker": 7}"#).await?;
    inject(&system, &stream, "work_started", r#"{"attempt": 1}"#).await?;
    // An event that can be decoded, but not applied: the row exists already.
    inject(
        &system,
        &format!("work-{}", &locations[2][locations[2].len() - 36..]),
        "work_demanded",
        r#"{"work_code": "api-again", "add_up_to": 1}"#,
    )
    .await?;
    let answer = system.post("/api/v1/works", &json!({"add_up_to": 9})).send().await?;
    let after = answer.headers()["location"].to_str()?.to_owned();
    system.caught_up().await?;

    assert_eq!(system.json(&after).await?["status"], "demanded", "other streams continue");
    assert_eq!(
        system.json(&locations[1]).await?["status"],
        "demanded",
        "later events of the stream wait"
    );
    eventually("both are shown as parked", async || {
        let projections = system.json("/api/v1/projections").await?;
        let works = projections["items"].as_array().into_iter().flatten();
        Ok(works.filter(|item| item["name"] == "works").all(|item| item["parked"] == 2))
    })
    .await?;
    let attempts =
        system.number("select min(attempts)::bigint from log.parked where parked").await?;
    assert_eq!(attempts, 1, "no further attempt succeeds");
    Ok(())
}

/// The database of a process that an event has killed repeatedly: the starts at one position, and
/// the attempts that were counted before they were made.
#[tokio::test]
async fn an_event_that_kills_the_process_is_parked_after_its_attempts() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // A stream stays parked.
    let _http = system.serve(&["http"]).await?;
    let mut streams = Vec::new();
    for n in 0..3 {
        let answer = system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?;
        let work: Value = answer.json().await?;
        streams.push(format!("work-{}", work["id"].as_str().unwrap_or_default()));
    }
    sqlx::query("insert into log.checkpoint (consumer, position, starts) values ('works', 0, 9)")
        .execute(&system.admin)
        .await?;
    sqlx::query(
        "insert into log.parked (consumer, stream_id, position, attempts, error, parked)
         values ('works', $1, 2, 3, 'killed the process', false)",
    )
    .bind(&streams[1])
    .execute(&system.admin)
    .await?;
    let _projector = system.serve(&["projector"]).await?;
    system.caught_up().await?;
    assert_eq!(
        system.number("select count(*) from works.work").await?,
        2,
        "the other works are shown"
    );
    let parked: (String, i64, bool) =
        sqlx::query_as("select stream_id, position, parked from log.parked")
            .fetch_one(&system.admin)
            .await?;
    assert_eq!(parked, (streams[1].clone(), 2, true), "the other streams are no longer suspected");
    assert_eq!(
        system.number("select starts::bigint from log.checkpoint where consumer = 'works'").await?,
        0
    );
    Ok(())
}

/// Views of a page, as the API counts them.
async fn views(system: &System, path: &str) -> Result<i64> {
    let stats = system.json(&format!("/api/v1/page-views/stats?path={path}")).await?;
    Ok(stats["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["views"].as_i64())
        .sum())
}

/// All page views of a day are in one stream.
#[tokio::test]
async fn an_independent_fact_is_parked_alone() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector"]).await?;
    let view = async || -> Result<()> {
        let view = json!({"path": "/a"});
        system.post("/api/v1/page-views", &view).send().await?.error_for_status()?;
        Ok(())
    };
    view().await?;
    let (stream, good): (String, String) = sqlx::query_as(
        "select stream_id, data::text from log.event where event_type = 'page_viewed'",
    )
    .fetch_one(&system.admin)
    .await?;
    let bad = inject(&system, &stream, "page_viewed", r#"{"path": 7}"#).await?;
    view().await?;
    eventually("later views of the day are counted", async || Ok(views(&system, "/a").await? == 2))
        .await?;
    let list = parked(&system, 1).await?;
    let key = format!("page_views:event-{bad}");
    assert_eq!(
        (&list["items"][0]["key"], &list["items"][0]["position"]),
        (&json!(key), &json!(bad))
    );

    // It is shown, and applied after a fix.
    let shown = system.json(&format!("/api/v1/parked/{key}")).await?;
    assert_eq!(shown["event"]["stream_id"], json!(stream), "{shown}");
    repair(&system, bad, &good).await?;
    let output = system.run(&["parked", "retry", &key]).await?;
    assert!(output.contains("resumed"), "{output}");
    assert_eq!(views(&system, "/a").await?, 3);
    Ok(())
}

#[tokio::test]
async fn undecodable_rules_stop_no_alert() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let process = system.serve(&["http", "projector", "worker"]).await?;
    let operator = system.caller(system.token.clone());
    let rules = json!({"rules": [{"key": "temperature", "operator": ">", "threshold": 50}]});
    for user in ["u", "v"] {
        operator.command(Method::PUT, &format!("/api/v1/users/{user}/config"), &rules).await?;
    }
    let good: String =
        sqlx::query_scalar("select data::text from log.event where stream_id = 'rules-u'")
            .fetch_one(&system.admin)
            .await?;
    let bad = inject(&system, "rules-u", "rules_configured", r#"{"rules": 7}"#).await?;
    let key = format!("alert_watch:event-{bad}");
    let is_parked =
        async || Ok(system.get(&format!("/api/v1/parked/{key}")).send().await?.status() == 200);
    eventually("the change of rules is parked", is_parked).await?;
    let mut alerts = 0;
    let mut raises_alert = async |user: &str, device: &str, temperature: i64| -> Result<()> {
        let reading = json!([{"user_id": user, "device_id": device, "sequence_id": 1,
                              "temperature": temperature}]);
        system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
        alerts += 1;
        let raised = "select count(*) from log.event where event_type = 'alert_raised'";
        eventually("an alert is raised", async || Ok(system.number(raised).await? == alerts)).await
    };
    raises_alert("v", "one", 60).await?;
    raises_alert("u", "one", 60).await?; // By the rules before.

    // A new process finds the rules before, too.
    process.kill().await?;
    let _process = system.serve(&["http", "projector", "worker"]).await?;
    raises_alert("u", "two", 60).await?;

    // After a fix and a retry, the rules are in force.
    let fixed = good.replace("50", "10");
    assert_ne!(fixed, good);
    repair(&system, bad, &fixed).await?;
    let output = system.run(&["parked", "retry", &key]).await?;
    assert!(output.contains("resumed"), "{output}");
    raises_alert("u", "three", 20).await?;
    Ok(())
}

#[tokio::test]
async fn an_undecodable_order_blocks_no_expiry() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve_with(&["http", "projector"], &[("ORDER_TTL", "1s")]).await?;
    let operator = system.caller(system.token.clone());
    let hat = product(&operator, "HAT", "9.90", 0).await?;
    let customer = customer(&system).await?;
    let (first, second) =
        (place(&customer, &[(&hat, 1)]).await?, place(&customer, &[(&hat, 1)]).await?);
    let stream = format!("order-{}", first.rsplit('/').next().unwrap_or_default());
    inject(&system, &stream, "order_cancelled", r#"{"reason": 7}"#).await?;
    // The process manager has parked both, so only their deadline cancels them.
    sqlx::query(
        "insert into log.parked (consumer, stream_id, position, attempts, error, parked)
         select 'fulfilment', stream_id, position, 1, 'by a test', true from log.event
         where stream_id like 'order-%' and version = 1",
    )
    .execute(&system.admin)
    .await?;
    let _worker = system.serve(&["worker"]).await?;
    until(&customer, &second, "cancelled").await?;
    assert_eq!(customer.json(&first).await?["status"], "pending", "it cannot be read");
    Ok(())
}

/// The state of a consumer.
async fn state(system: &System, consumer: &str) -> Result<Value> {
    Ok(system.json(&format!("/api/v1/projections/{consumer}")).await?["state"].clone())
}

#[tokio::test]
async fn an_event_of_a_newer_build_is_waited_for() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let mut process = system.serve(&["http", "projector"]).await?;
    let answer = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
    let path = answer.headers()["location"].to_str()?.to_owned();
    system.caught_up().await?;
    let stream = format!("work-{}", path.rsplit('/').next().unwrap_or_default());
    let newer = inject_version(&system, &stream, "work_paused", 1, "{}").await?;
    let next = inject_version(&system, "work-x", "work_demanded", 9, "{}").await?;
    process.logs("consumer waits for a newer build").await?;
    eventually("the wait is visible", async || Ok(state(&system, "works").await? == "waiting"))
        .await?;
    let output = system.run(&["lag"]).await?;
    assert!(
        output.lines().any(|line| line.starts_with("works") && line.contains("waiting")),
        "{output}"
    );
    let shown = system.json("/api/v1/projections/works").await?;
    assert_eq!((&shown["position"], &shown["parked"]), (&json!(newer - 1), &json!(0)), "{shown}");
    let metrics = system.get("/metrics").send().await?.text().await?;
    assert!(metrics.contains("tributary_consumer_waiting{consumer=\"works\"} 1"), "{metrics}");

    // Consumers that do not decode these events go on.
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": 1}]);
    system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    let head = system.head().await?;
    eventually("the others have reached the head", async || {
        let behind =
            "select count(*) from log.checkpoint where position < (select position from log.head)
                      and consumer not in ('works', 'relay')";
        Ok(system.number(behind).await? == 0)
    })
    .await?;
    assert_eq!(state(&system, "works").await?, "waiting");

    // A newer build moves the checkpoint past the first, and an operator skips the second.
    sqlx::query("update log.checkpoint set position = $1 where consumer = 'works'")
        .bind(newer)
        .execute(&system.admin)
        .await?;
    eventually("it waits at the next one", async || {
        let list = system.json("/api/v1/parked").await?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|row| row["position"].as_i64()).eq([next]))
    })
    .await?;
    let output = system.run(&["parked", "skip", "works:work-x", "--reason", "rolled back"]).await?;
    assert!(output.contains("resumed"), "{output}");
    system.projected(Some(head)).await?;
    eventually("it no longer waits", async || Ok(state(&system, "works").await? == "live")).await?;
    Ok(())
}
