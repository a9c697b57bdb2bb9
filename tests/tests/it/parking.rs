//! An event that cannot be applied parks its own stream and no other.

use anyhow::Result;
use serde_json::json;
use tests::{System, eventually};
use uuid::Uuid;

/// Inserts an event into a stream directly, which no version of the application would append.
async fn inject(system: &System, stream: &str, event_type: &str, data: &str) -> Result<()> {
    sqlx::query(
        "with head as (
           update log.head set position = position + 1 returning position, recorded_at, hash
         )
         insert into log.event (position, version, recorded_at, event_id, schema_version,
                                event_type, stream_id, data, metadata, hash)
         select position,
                1 + coalesce((select max(version) from log.event where stream_id = $1), 0),
                recorded_at, $2, 1, $3, $1, $4::json, '{}', '' from head",
    )
    .bind(stream)
    .bind(Uuid::now_v7())
    .bind(event_type)
    .bind(data)
    .execute(&system.admin)
    .await?;
    Ok(())
}

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
    assert_eq!(attempts, 3);
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
        let work: serde_json::Value = answer.json().await?;
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
