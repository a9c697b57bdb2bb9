//! What the HTTP API guarantees for all operations: problems, pages, the feed, its documents.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tests::{DEADLINE, System};

#[tokio::test]
async fn every_refusal_is_a_problem() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let url = |path: &str| format!("{}{path}", system.url());
    let works = url("/api/v1/works");
    let requests = [
        (401, system.http.get(&works)),
        (401, system.http.get(&works).bearer_auth("nonsense")),
        (404, system.get("/nowhere")),
        (404, system.get("/api/v1/works/0198c0de-0000-7000-8000-000000000000")),
        (405, system.http.delete(&works).bearer_auth(&system.token)),
        (415, system.http.post(&works).bearer_auth(&system.token).body("{}")),
        (422, system.post("/api/v1/works", &json!({"unknown": 1}))),
        (422, system.post("/api/v1/works", &json!({"add_up_to": -1}))),
        (422, system.get("/api/v1/works?limit=501")),
        (422, system.get("/api/v1/works?cursor=nonsense")),
        (422, system.get("/api/v1/works").header("Tributary-Min-Position", "1000000")),
        (413, system.post("/api/v1/works", &json!({"pad": "x".repeat(1024 * 1024)}))),
    ];
    for (expected, request) in requests {
        let answer = request.send().await?;
        let (status, path) = (answer.status(), answer.url().path().to_owned());
        let content_type = answer.headers().get("content-type").cloned();
        assert_eq!(status, expected, "{path}");
        assert_eq!(
            content_type.as_ref().map(HeaderValue::as_bytes),
            Some(&b"application/problem+json"[..]),
            "{path}"
        );
        let problem: Value = answer.json().await?;
        for member in ["type", "title", "status", "detail", "code", "trace_id"] {
            assert!(!problem[member].is_null(), "{path}: {member} is missing in {problem}");
        }
        assert_eq!(problem["status"], expected);
    }
    Ok(())
}

#[tokio::test]
async fn lists_are_read_page_by_page() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    for n in 0..25 {
        system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    let mut seen = Vec::new();
    let mut next = Some("/api/v1/works?limit=10".to_owned());
    let mut pages = 0;
    while let Some(path) = next {
        let answer = system.get(&path).send().await?.error_for_status()?;
        next = answer.headers().get("link").and_then(|link| {
            let link = link.to_str().ok()?.strip_prefix('<')?;
            Some(link.split_once('>')?.0.to_owned())
        });
        let page: Value = answer.json().await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        seen.extend(items.iter().map(|work| work["add_up_to"].as_i64().unwrap_or(-1)));
        pages += 1;
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>());
    assert_eq!(pages, 3);
    Ok(())
}

#[tokio::test]
async fn the_feed_resumes_after_a_position() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let demand = async || -> Result<()> {
        system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
        Ok(())
    };
    demand().await?;
    let answer = system.get("/api/v1/events?limit=10").send().await?.error_for_status()?;
    let link = answer.headers()["link"].to_str()?.to_owned();
    let page: Value = answer.json().await?;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    demand().await?;
    let next = link.trim_start_matches('<').split('>').next().unwrap_or_default();
    let page = system.json(next).await?;
    assert_eq!(page["items"][0]["position"], 2, "the link leads on from the head");

    let stream = system.get("/api/v1/events/stream").header("Last-Event-ID", "1").send().await?;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut chunks = stream.bytes_stream();
    let mut text = String::new();
    demand().await?;
    tokio::time::timeout(DEADLINE, async {
        while !text.contains("id: 3") && !text.contains("id:3") {
            let Some(chunk) = chunks.next().await else { break };
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        anyhow::Ok(())
    })
    .await??;
    assert!(text.contains("work_demanded"), "{text}");
    assert!(!text.contains("id: 1\n") && !text.contains("id:1\n"), "it resumes after 1: {text}");
    Ok(())
}

#[tokio::test]
async fn an_event_stream_ends_with_its_token_and_resumes_with_the_next_one() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    for _ in 0..3 {
        system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
    }
    let keys = gateway::tokens::Keys::load(&system.folder.join("signing.pem"))?;
    let token = || keys.sign("op", domain::Role::Operator, Duration::from_secs(5));
    let read = async |query: &str, header: Option<&str>| -> Result<String> {
        let mut request = system.caller(token()?).get(&format!("/api/v1/events/stream?{query}"));
        if let Some(id) = header {
            request = request.header("Last-Event-ID", id);
        }
        let stream = request.send().await?.error_for_status()?;
        Ok(tokio::time::timeout(DEADLINE, stream.text()).await??)
    };
    let ids = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("id:"));
        lines.map(|id| id.trim().to_owned()).collect()
    };
    let (first, second, third) =
        tokio::join!(read("after=0", None), read("lastEventId=1&after=0", None), async {
            read("lastEventId=1", Some("2")).await
        });
    let first = first?;
    assert!(first.trim_end().ends_with("reconnect with a new one and Last-Event-ID"), "{first}");
    assert_eq!(ids(&first), ["1", "2", "3"]);
    assert_eq!(ids(&second?), ["2", "3"], "by the query");
    assert_eq!(ids(&third?), ["3"], "the header takes precedence");
    for value in ["x", "-1"] {
        let refused = system.get(&format!("/api/v1/events/stream?lastEventId={value}"));
        assert_eq!(refused.send().await?.status(), 422);
    }
    Ok(())
}

#[tokio::test]
async fn the_api_documents_are_served() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let document = system.json("/openapi.json").await?;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in ["/api/v1/works", "/api/v1/telemetry", "/api/v1/events", "/api/v1/projections"] {
        assert!(document["paths"][path].is_object(), "{path} is not documented");
    }
    let printed: Value = serde_json::from_str(&system.run(&["openapi"]).await?)?;
    assert_eq!(printed["paths"], document["paths"], "the command prints the same document");
    let docs = system.http.get(format!("{}/docs/", system.url())).send().await?;
    assert!(docs.text().await?.contains("swagger"));
    let ready = system.json("/readyz").await?;
    assert!(ready.is_object(), "{ready}");
    assert!(system.get("/metrics").send().await?.text().await?.contains("# HELP"));
    Ok(())
}
