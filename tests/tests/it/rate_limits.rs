//! Limits on what a client may do in a minute or an hour: callers with a token, addresses without
//! one, and visitors who send page views.

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tests::System;

const VIEWS: &str = "/api/v1/page-views";

/// Checks that a response is the problem `code` with status 429, when to retry, and the policy.
async fn too_many(response: Response, code: &str, policy: &str) -> Result<()> {
    let (status, headers) = (response.status(), response.headers().clone());
    let problem: Value = response.json().await?;
    ensure!(status == StatusCode::TOO_MANY_REQUESTS, "{status}: {problem}");
    ensure!(problem["code"] == code && problem["status"] == 429, "{problem}");
    let seconds: u64 = headers["retry-after"].to_str()?.parse()?;
    ensure!((1..=3_600).contains(&seconds), "{seconds}");
    if !policy.is_empty() {
        let shown = headers["ratelimit-policy"].to_str()?;
        ensure!(shown.starts_with(&format!("\"{policy}\";q=")), "{shown}");
        let shown = headers["ratelimit"].to_str()?;
        ensure!(shown.starts_with(&format!("\"{policy}\";r=0;t=")), "{shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_principal_over_its_rate_is_refused_and_others_are_not() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("RATE_LIMIT_PRINCIPAL", "2")]).await?;
    let first = system.get("/api/v1/works").send().await?;
    assert_eq!(first.headers()["ratelimit-policy"], "\"principal\";q=2;w=60");
    assert_eq!(first.headers()["ratelimit"], "\"principal\";r=1;t=30");
    assert_eq!(system.get("/api/v1/works").send().await?.status(), 200);
    too_many(system.get("/api/v1/works").send().await?, "too_many_requests", "principal").await?;
    let other = system.caller(system.token_for("other", "user").await?);
    assert_eq!(other.get("/api/v1/works").send().await?.status(), 200);
    // Orchestrators are answered all the same.
    for path in ["/livez", "/readyz", "/startupz"] {
        for _ in 0..4 {
            assert_eq!(system.get(path).send().await?.status(), 200, "{path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_address_without_a_valid_token_is_limited() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("RATE_LIMIT_ADDRESS", "2")]).await?;
    let stranger = system.caller("nonsense");
    for _ in 0..2 {
        assert_eq!(stranger.get("/api/v1/works").send().await?.status(), 401);
    }
    too_many(stranger.get("/api/v1/works").send().await?, "too_many_requests", "address").await?;
    too_many(stranger.get("/asyncapi.json").send().await?, "too_many_requests", "address").await?;
    assert_eq!(system.get("/api/v1/works").send().await?.status(), 200, "with a token");
    Ok(())
}

async fn log_in(system: &System, email: &str, client: &str) -> Result<Response> {
    let url = format!("{}/api/v1/auth/login/access-token", system.url());
    let form = [("username", email), ("password", "wrong horse battery")];
    Ok(system.http.post(url).header("X-Forwarded-For", client).form(&form).send().await?)
}

#[tokio::test]
async fn attempts_to_sign_in_are_limited_by_account_and_by_address() -> Result<()> {
    let system = System::start().await?;
    let limits = [
        ("RATE_LIMIT_SIGN_INS_ACCOUNT", "2"),
        ("RATE_LIMIT_SIGN_INS_ADDRESS", "3"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1"),
    ];
    let _process = system.serve_with(&["http"], &limits).await?;
    // From one address each, so that only the account is over its limit. Case does not matter.
    assert_eq!(log_in(&system, "ada@example.org", "192.0.2.1").await?.status(), 401);
    assert_eq!(log_in(&system, "ADA@example.org", "192.0.2.2").await?.status(), 401);
    let third = log_in(&system, "ada@example.org", "192.0.2.3").await?;
    too_many(third, "too_many_requests", "sign_ins_account").await?;
    // As one account each. What the client itself writes to the left of its address is not trusted.
    for (account, forged) in [("a", "1.1.1.1"), ("b", "2.2.2.2"), ("c", "3.3.3.3")] {
        let client = format!("{forged}, 2001:db8::{account}, 10.1.2.3");
        assert_eq!(log_in(&system, account, &client).await?.status(), 401);
    }
    let fourth = log_in(&system, "d", "4.4.4.4, 2001:db8::d").await?;
    too_many(fourth, "too_many_requests", "sign_ins_address").await?;
    assert_eq!(log_in(&system, "d", "2001:db8:0:1::d").await?.status(), 401, "another network");
    Ok(())
}

#[tokio::test]
async fn registrations_are_limited_by_address_whatever_the_client_claims() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve_with(&["http"], &[("RATE_LIMIT_REGISTRATIONS", "1")]).await?;
    let register = async |name: &str| -> Result<Response> {
        let password = "correct horse battery";
        let body = json!({"email": format!("{name}@example.org"), "password": password, "full_name": name});
        let request = system.http.post(format!("{}/api/v1/users", system.url()));
        Ok(request.header("X-Forwarded-For", format!("{name}.1.1.1")).json(&body).send().await?)
    };
    assert_eq!(register("1").await?.status(), 201);
    too_many(register("2").await?, "too_many_requests", "registrations").await?;
    Ok(())
}

async fn send(system: &System, views: &Value) -> Result<Response> {
    Ok(system.http.post(format!("{}{VIEWS}", system.url())).json(views).send().await?)
}

#[tokio::test]
async fn page_views_are_limited_by_address_by_distinct_names_and_by_age() -> Result<()> {
    let hour = || chrono::Utc::now().timestamp() / 3_600;
    let begun = hour();
    match page_views_are_limited().await {
        // Names are counted per hour.
        Err(_) if hour() != begun => page_views_are_limited().await,
        checked => checked,
    }
}

async fn page_views_are_limited() -> Result<()> {
    let system = System::start().await?;
    let limits = [
        ("RATE_LIMIT_PAGE_VIEWS", "1000"),
        ("PAGE_VIEW_PATHS", "3"),
        ("PAGE_VIEW_SESSIONS", "2"),
        ("PAGE_VIEW_MAX_AGE", "1h"),
    ];
    let _process = system.serve_with(&["http", "projector"], &limits).await?;
    let views = |names: &[(&str, &str)]| -> Value {
        names.iter().map(|(path, session)| json!({"path": path, "session_id": session})).collect()
    };
    let accepted = send(&system, &views(&[("/a", "s"), ("/b", "t")])).await?;
    assert_eq!(accepted.status(), 202);
    let quotas: Vec<_> = accepted.headers().get_all("ratelimit-policy").iter().collect();
    assert!(quotas.iter().any(|quota| *quota == "\"page_views\";q=1000;w=60"), "{quotas:?}");
    too_many(send(&system, &views(&[("/c", "s"), ("/d", "s")])).await?, "too_many_names", "")
        .await?;
    too_many(send(&system, &views(&[("/a", "u")])).await?, "too_many_names", "").await?;
    assert_eq!(send(&system, &views(&[("/c", "t")])).await?.status(), 202, "the third path");

    let two_hours_ago = chrono::Utc::now() - chrono::TimeDelta::hours(2);
    let old = send(&system, &json!({"path": "/a", "viewed_at": two_hours_ago})).await?;
    assert_eq!(old.status(), 422);
    let problem: Value = old.json().await?;
    assert_eq!(problem["errors"][0]["pointer"], "/viewed_at", "{problem}");
    let detail = problem["errors"][0]["detail"].as_str().context("a detail")?;
    assert!(detail.contains("at most 1h before"), "{detail}");

    assert_eq!(send(&system, &views(&vec![("/a", "s"); 900])).await?.status(), 202);
    let over = send(&system, &views(&vec![("/a", "s"); 900])).await?;
    too_many(over, "too_many_requests", "page_views").await?;
    assert_eq!(system.number("select count(*) from log.event").await?, 903);
    let refused = system.get("/metrics").send().await?.text().await?;
    for reason in ["page_views\"} 1", "page_view_paths\"} 1", "page_view_sessions\"} 1"] {
        let line = format!("tributary_http_refused_total{{reason=\"{reason}");
        assert!(refused.contains(&line), "{line} is not in:\n{refused}");
    }
    system.caught_up().await
}

/// A bounded form of an overload: more requests than the limits allow, faster than they are
/// executed.
#[tokio::test]
async fn an_overload_is_refused_with_retry_after_in_flat_memory() -> Result<()> {
    const REQUESTS: usize = 10_000;
    const MOST_GROWTH: u64 = 64 << 20;
    let system = System::start().await?;
    let limits = [("RATE_LIMIT_PRINCIPAL", "2000"), ("HTTP_REQUESTS", "64")];
    let process = system.serve_with(&["http", "projector"], &limits).await?;
    let padded = json!({"name": "x".repeat(20_000), "sku": "none"});
    let before = process.resident()?;
    let sent = futures::stream::iter(0..REQUESTS).map(|n| {
        let work = json!({"add_up_to": n});
        let (path, body) =
            if n % 2 == 0 { ("/api/v1/works", &work) } else { ("/api/v1/products", &padded) };
        system.post(path, body).send()
    });
    let sent = sent.buffer_unordered(256);
    let responses: Vec<_> = sent.collect().await;
    let (mut done, mut refused) = (0, 0);
    for response in responses {
        let response = response?;
        match response.status().as_u16() {
            202 | 422 => done += 1,
            429 | 503 => {
                refused += 1;
                assert!(response.headers().contains_key("retry-after"));
            }
            other => anyhow::bail!("{other}: {}", response.text().await?),
        }
    }
    let growth = process.resident()?.saturating_sub(before);
    println!("{done} executed, {refused} refused, {} KiB more memory", growth >> 10);
    assert!(done > 0 && refused > 0);
    assert!(growth < MOST_GROWTH, "{growth} bytes more");
    assert_eq!(system.get("/readyz").send().await?.status(), 200);
    system.caught_up().await
}
