//! Browsers on other web sites: which of them may call the API and record page views, and what their
//! scripts may read of a response.

use anyhow::Result;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use tests::System;

const SHOP: &str = "https://shop.example.org";
const BLOG: &str = "https://blog.example.org";
const VIEWS: &str = "/api/v1/page-views";

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The request that a browser sends before a request with JSON, a token and an idempotency key.
fn preflight(system: &System, path: &str, method: &str, origin: &str) -> RequestBuilder {
    let request = system.http.request(Method::OPTIONS, format!("{}{path}", system.url()));
    let headers = "authorization,content-type,idempotency-key,if-match,tributary-min-position";
    request
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers)
}

#[tokio::test]
async fn a_page_of_a_listed_origin_calls_the_api_and_other_pages_do_not() -> Result<()> {
    let system = System::start().await?;
    let origins = [("CORS_ORIGINS", SHOP), ("PAGE_VIEWS_CORS_ORIGINS", BLOG)];
    let process = system.serve_with(&["http", "projector"], &origins).await?;
    let own = |path| if path == VIEWS { BLOG } else { SHOP };
    for (method, path) in [
        ("POST", "/api/v1/works"),
        ("PATCH", "/api/v1/projects/0190163d-8694-739b-aea5-966c26f8ad91"),
        ("DELETE", "/api/v1/projects/0190163d-8694-739b-aea5-966c26f8ad91"),
        ("PUT", "/api/v1/config"),
        ("GET", "/data"),
        ("POST", VIEWS),
    ] {
        let answer = preflight(&system, path, method, own(path)).send().await?;
        assert_eq!(answer.status(), 200, "{method} {path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), own(path), "{path}");
        assert!(header(&answer, "access-control-allow-methods").contains(method), "{path}");
        let allowed = header(&answer, "access-control-allow-headers");
        assert!(allowed.contains("authorization") && allowed.contains("if-match"), "{allowed}");
        assert_eq!(header(&answer, "access-control-max-age"), "600");
        // A beacon is sent with credentials; the API reads none.
        let credentials = if path == VIEWS { "true" } else { "" };
        assert_eq!(header(&answer, "access-control-allow-credentials"), credentials, "{path}");
        let foreign = if path == VIEWS { SHOP } else { BLOG };
        for origin in
            [foreign, "null", "https://shop.example.org.evil.net", "http://shop.example.org"]
        {
            let answer = preflight(&system, path, method, origin).send().await?;
            let allowed = answer.headers().get("access-control-allow-origin");
            assert_eq!(allowed, None, "{method} {path} {origin}");
        }
    }

    // What a script may read: the headers that the API relies on, of refusals, too.
    let demand = system.post("/api/v1/works", &json!({"add_up_to": 1})).header("Origin", SHOP);
    let answer = demand.send().await?.error_for_status()?;
    assert_eq!(header(&answer, "access-control-allow-origin"), SHOP);
    let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
    assert!(vary.iter().any(|value| value.as_bytes().starts_with(b"origin")), "{vary:?}");
    let exposed = header(&answer, "access-control-expose-headers");
    for name in ["etag", "location", "link", "retry-after", "ratelimit", "tributary-position"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name} in {exposed}");
    }
    let refused = system.http.get(format!("{}/api/v1/works", system.url())).header("Origin", SHOP);
    let refused = refused.send().await?;
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "access-control-allow-origin")),
        (401, SHOP)
    );
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    process.kill().await?;

    // Without origins, there are no such headers; with `*`, there are no credentials.
    let any = [("PAGE_VIEWS_CORS_ORIGINS", "*")];
    for (options, allowed) in [(&[][..], ""), (&any[..], SHOP)] {
        let process = system.serve_with(&["http"], options).await?;
        let answer = preflight(&system, VIEWS, "POST", SHOP).send().await?;
        assert_eq!(header(&answer, "access-control-allow-origin"), allowed, "{options:?}");
        assert_eq!(header(&answer, "access-control-allow-credentials"), "", "{options:?}");
        let answer = preflight(&system, "/api/v1/works", "POST", SHOP).send().await?;
        assert_eq!(header(&answer, "access-control-allow-origin"), "", "{options:?}");
        process.kill().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_beacon_of_a_browser_counts() -> Result<()> {
    let system = System::start().await?;
    let _process =
        system.serve_with(&["http", "projector"], &[("PAGE_VIEWS_CORS_ORIGINS", BLOG)]).await?;
    let post = |path: &str, kind: &str, body: &'static str| {
        let request = system.http.post(format!("{}{path}", system.url())).body(body);
        request
            .header("Content-Type", kind)
            .header("Origin", BLOG)
            .header("Prefer", "wait=20")
            .send()
    };
    // As `navigator.sendBeacon(url, JSON.stringify(view))` sends it.
    let view = r#"{"path": "/post", "referrer": ""}"#;
    for (kind, body, status) in [
        ("text/plain;charset=UTF-8", view, 202),
        ("TEXT/PLAIN", r#"[{"path": "/post"}, {"path": 7}]"#, 202),
        ("text/plain", "/post", 400),
        ("application/x-www-form-urlencoded", "path=/post", 415),
        ("text/html", view, 415),
    ] {
        let answer = post(VIEWS, kind, body).await?;
        assert_eq!(answer.status(), status, "{kind} {body}");
        assert_eq!(header(&answer, "access-control-allow-origin"), BLOG);
    }
    let stats = system.json(&format!("{VIEWS}/stats")).await?;
    assert_eq!(stats["items"][0]["views"], 2, "{stats}");
    // No other endpoint takes text.
    assert_eq!(post("/api/v1/users", "text/plain", "{}").await?.status(), 415);
    Ok(())
}
