//! Works: demanded over HTTP and NATS, completed once.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{Caller, System, eventually};

#[tokio::test]
async fn a_work_is_demanded_and_completed() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let answer = system.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str()?.to_owned();
    let work: Value = answer.json().await?;
    assert!(work["work_code"].as_str().is_some_and(|code| code.starts_with("api-")));
    eventually("it is done", async || {
        Ok(system.json(&location).await.is_ok_and(|work| work["done"] == true))
    })
    .await?;
    let work = system.json(&location).await?;
    assert_eq!((&work["result"], &work["status"]), (&json!(10), &json!("completed")));
    let events = system.json(&format!("{location}/events")).await?;
    let types: Vec<_> = events["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["type"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(types, ["work_demanded", "work_claimed", "work_started", "work_completed"]);
    Ok(())
}

#[tokio::test]
async fn a_read_with_the_position_of_a_write_sees_the_write() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    for n in 0..200 {
        let answer = system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?;
        let position = answer.headers()["tributary-position"].to_str()?.to_owned();
        let location = answer.headers()["location"].to_str()?.to_owned();
        let answer =
            system.get(&location).header("Tributary-Min-Position", position).send().await?;
        assert_eq!(answer.status(), 200, "work {n} is not to be seen");
        assert_eq!(answer.json::<Value>().await?["add_up_to"], n);
    }
    Ok(())
}

#[tokio::test]
async fn a_read_without_a_projector_ends_with_an_error() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let answer = system.post("/api/v1/works", &json!({})).send().await?;
    let position = answer.headers()["tributary-position"].to_str()?.to_owned();
    let answer = system
        .get("/api/v1/works")
        .header("Tributary-Min-Position", position)
        .header("Prefer", "wait=1")
        .send()
        .await?;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().await?;
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("works")), "{problem}");
    Ok(())
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_same_work() -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&["http", "projector"]).await?;
    let demand = async |key: &str, body: Value| -> Result<(u16, Value)> {
        let answer =
            system.post("/api/v1/works", &body).header("Idempotency-Key", key).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let first = demand("a", json!({"add_up_to": 3})).await?;
    assert_eq!(first.0, 202);
    assert_eq!(demand("a", json!({"add_up_to": 3})).await?, first);
    assert_eq!(demand("a", json!({"add_up_to": 4})).await?.0, 422);
    let both = tokio::join!(demand("b", json!({})), demand("b", json!({})));
    assert_eq!(both.0?, both.1?);
    process.kill().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    assert_eq!(demand("a", json!({"add_up_to": 3})).await?, first);
    assert_eq!(system.number("select count(*) from log.event").await?, 2);
    Ok(())
}

#[tokio::test]
async fn demands_over_nats_become_works() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    eventually("the intake is there", async || Ok(jetstream.get_stream("COMMANDS").await.is_ok()))
        .await?;
    for body in [r#"{"add_up_to": 2, "done": false}"#, "nonsense", r#"{"add_up_to": 5}"#] {
        jetstream.publish("commands.works.demand", body.into()).await?.await?;
    }
    eventually("both are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 2)
    })
    .await?;
    let works = system.json("/api/v1/works?done=true").await?;
    let mut results: Vec<_> = works["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|work| {
            assert!(work["work_code"].as_str().is_some_and(|code| code.starts_with("consumer-")));
            work["result"].as_i64().unwrap_or_default()
        })
        .collect();
    results.sort_unstable();
    assert_eq!(results, [3, 15]);
    eventually("the nonsense is recorded", async || {
        let rejected = system.json("/api/v1/events?type=message_rejected").await?;
        Ok(rejected["items"][0]["data"]["payload"] == "nonsense")
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_work_that_exceeds_its_time_limit_is_given_up() -> Result<()> {
    let system = System::start().await?;
    let limits =
        [("WORKER_TIME_LIMIT", "1ms"), ("WORKER_BACKOFF", "10ms"), ("WORKER_MAX_ATTEMPTS", "3")];
    let _process = system.serve_with(&[], &limits).await?;
    let hopeless = json!({"add_up_to": u32::MAX});
    let answer = system.post("/api/v1/works", &hopeless).send().await?;
    let location = answer.headers()["location"].to_str()?.to_owned();
    eventually("it is given up", async || {
        Ok(system.json(&location).await.is_ok_and(|work| work["status"] == "given_up"))
    })
    .await?;
    let work = system.json(&location).await?;
    assert_eq!((&work["done"], &work["attempts"]), (&json!(false), &json!(3)));
    assert!(work["reason"].as_str().is_some_and(|reason| reason.contains("stopped")));
    Ok(())
}

#[tokio::test]
async fn old_receipts_are_deleted() -> Result<()> {
    let system = System::start().await?;
    sqlx::query(
        "insert into log.receipt (key, fingerprint, position, response, recorded_at)
         select 'old ' || n, ''::bytea, 0, '{}'::json, now() - interval '8 days' from generate_series(1, 25000) n
         union all select 'young', ''::bytea, 0, '{}'::json, now() - interval '6 days'",
    )
    .execute(&system.admin)
    .await?;
    let _process = system.serve(&["relay"]).await?;
    eventually("the old ones are gone", async || {
        Ok(system.number("select count(*) from log.receipt").await? == 1)
    })
    .await?;
    assert_eq!(system.number("select count(*) from log.receipt where key = 'young'").await?, 1);
    Ok(())
}

#[tokio::test]
async fn the_actor_and_the_trace_of_an_event_are_shown_to_whom_they_concern() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let caller = async |role: &str| -> Result<(String, Caller)> {
        let id = uuid::Uuid::now_v7().to_string();
        let token = system.token_for(&id, role).await?;
        Ok((id, system.caller(token)))
    };
    let (ada_id, ada) = caller("user").await?;
    let (_, other) = caller("user").await?;
    let (_, operator) = caller("operator").await?;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let demand = ada.post("/api/v1/works", &json!({"add_up_to": 4}));
    let demand = demand.header("traceparent", traceparent).send().await?.error_for_status()?;
    let work: Value = demand.json().await?;
    let path = format!("/api/v1/works/{}", work["id"].as_str().unwrap_or_default());
    eventually("it is done", async || {
        Ok(ada.json(&path).await.is_ok_and(|work| work["done"] == true))
    })
    .await?;
    let metadata = async |caller: &Caller| -> Result<Vec<Value>> {
        let events = caller.json(&format!("{path}/events")).await?;
        let events = events["items"].as_array().into_iter().flatten();
        Ok(events.map(|event| event["metadata"].clone()).collect())
    };
    let all = metadata(&operator).await?;
    let demanded = all[0].to_string();
    assert!(demanded.contains(&ada_id) && demanded.contains("0af7651916cd43dd8448eb211c80319c"));
    assert!(all[1]["actor"].is_string(), "the worker: {all:?}");
    let own = metadata(&ada).await?;
    assert_eq!((&own[0], &own[1]), (&all[0], &json!({})));
    assert_eq!(metadata(&other).await?, vec![json!({}); all.len()]);
    Ok(())
}
