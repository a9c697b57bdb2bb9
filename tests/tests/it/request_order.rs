//! What one request carries enters the log in its order, however much it is and whatever other requests
//! there are.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

/// Sizes around and beyond the number of appends that one turn of a task completes.
const SIZES: [usize; 4] = [1, 64, 65, 1_000];

/// A request with `size` readings of two devices, in turns.
fn readings(user: &str, size: usize) -> Vec<Value> {
    let reading = |n: usize| {
        let temperature = if n == size / 2 { 99.0 } else { 21.0 };
        json!({"user_id": user, "device_id": format!("d{}", n % 2), "sequence_id": n,
               "time": 1_767_225_600_000_u64 + u64::try_from(n).unwrap_or_default(),
               "temperature": temperature})
    };
    (0..size).map(reading).collect()
}

/// Sends readings; returns the outcomes and positions of the answer.
async fn send(system: &System, readings: &[Value]) -> Result<Vec<(String, i64)>> {
    let answer = system.post("/api/v1/telemetry", &json!(readings)).send().await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    let items = answer["items"].as_array().context("verdicts")?.iter();
    let verdict = |item: &Value| {
        let word = item["verdict"].as_str().context("a verdict")?.to_owned();
        Ok((word, item["position"].as_i64().context("a position")?))
    };
    items.map(verdict).collect()
}

#[tokio::test]
async fn readings_of_a_request_are_appended_and_judged_in_its_order() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector", "worker"]).await?;
    let rules = json!({"temperature_max": 80});
    system.caller(&system.token).command(Method::PUT, "/api/v1/config", &rules).await?;
    let users = SIZES.map(|size| (format!("u{size}"), size));
    let requests = users.iter().flat_map(|(user, size)| {
        let system = &system;
        (0..3).map(move |copy| async move {
            send(system, &readings(&format!("{user}_{copy}"), *size)).await
        })
    });
    for verdicts in try_join_all(requests).await? {
        assert!(verdicts.iter().all(|(word, _)| word == "accepted"), "{verdicts:?}");
        let positions: Vec<_> = verdicts.iter().map(|(_, position)| *position).collect();
        let expected: Vec<_> = (positions[0]..).take(positions.len()).collect();
        assert_eq!(positions, expected, "one request is one range of the log");
    }
    let disordered = "select count(*) from (
        select (data->>'sequence_id')::int as n,
               lag((data->>'sequence_id')::int) over (partition by data->>'user_id' order by position)
               as before
        from log.event where event_type = 'reading_recorded') e where n <> coalesce(before, -1) + 1";
    assert_eq!(system.number(disordered).await?, 0);

    // Sent again, each is a duplicate at its first position; a new one among them is recorded.
    let mut again = readings("u1000_0", 1_000);
    let first = send(&system, &again).await?;
    again[500] = json!({"user_id": "u1000_0", "device_id": "d0", "sequence_id": 1_000});
    let second = send(&system, &again).await?;
    assert!(first.iter().all(|(word, _)| word == "duplicate"));
    assert_eq!((&first[..500], &first[501..]), (&second[..500], &second[501..]));
    assert_eq!(second[500].0, "accepted");

    // A single breach inside of each request.
    let raised = "select count(*) from log.event where event_type = 'alert_raised'";
    let expected = i64::try_from(3 * SIZES.len())?;
    eventually("every breach raised an alert", async || {
        Ok(system.number(raised).await? >= expected)
    })
    .await?;
    assert_eq!(system.number(raised).await?, expected);
    Ok(())
}

#[tokio::test]
async fn page_views_and_documents_are_appended_in_the_order_of_their_requests() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("RATE_LIMIT_PAGE_VIEWS", "100000")]).await?;
    let views = |copy: usize, size: usize| -> Vec<Value> {
        (0..size)
            .map(|n| json!({"path": format!("/{copy}-{size}"), "referrer": n.to_string()}))
            .collect()
    };
    let sent = SIZES.into_iter().flat_map(|size| (0..2).map(move |copy| (copy, size)));
    let requests = sent
        .map(|(copy, size)| system.post("/api/v1/page-views", &json!(views(copy, size))).send());
    for answer in try_join_all(requests).await? {
        assert_eq!(answer.status(), 202);
    }
    let disordered = "select count(*) from (
        select (data->>'referrer')::int as n,
               lag((data->>'referrer')::int) over (partition by data->>'path' order by position) as before
        from log.event where event_type = 'page_viewed') e where n <> coalesce(before, -1) + 1";
    assert_eq!(system.number(disordered).await?, 0);
    assert_eq!(system.number("select count(*) from log.event").await?, 2 * 1_130);

    // A document is a request of its own: one that is sent after an answer comes after it.
    let ada =
        system.caller(system.token_for("01890a5d-ac96-774b-bcce-b302099a8057", "user").await?);
    let chains = (0..65).map(|chain| {
        let ada = &ada;
        async move {
            for n in 0..2 {
                ada.command(Method::POST, "/data", &json!({"chain": chain, "n": n})).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(chains).await?;
    let ordered = "select count(*) from (
        select data->'data'->>'chain' as chain,
               array_agg(data->'data'->>'n' order by position) as n
        from log.event where event_type = 'document_recorded' group by 1) e
        where n = array['0', '1']";
    assert_eq!(system.number(ordered).await?, 65);
    Ok(())
}
