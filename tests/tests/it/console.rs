//! The console over HTTP: where its pages and files are, how browsers keep them, and which headers limit
//! what a response may do.

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tests::System;

/// `Accept` of a browser that opens a link.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
const CONSOLE_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self'; \
    script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";
const DOCS_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A client that follows no redirect.
fn client() -> Result<Client> {
    Ok(client::http(None)?.build()?)
}

#[tokio::test]
async fn the_root_leads_browsers_to_the_console_and_others_to_the_documents() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let client = client()?;
    let root = format!("{}/", system.url());
    let answer = client.get(&root).header("Accept", BROWSER).send().await?;
    assert_eq!(answer.status(), 303);
    assert_eq!(header(answer.headers(), "location"), "/console/");
    assert!(header(answer.headers(), "vary").contains("accept"));
    let answer = client.get(&root).send().await?;
    assert_eq!(answer.status(), 200);
    let shown: Value = answer.json().await?;
    assert_eq!(
        shown,
        json!({"name": "Tributary", "version": env!("CARGO_PKG_VERSION"), "links": {
            "console": "/console/", "documentation": "/docs/", "openapi": "/openapi.json",
            "asyncapi": "/asyncapi.json", "health": "/readyz"}})
    );
    for link in shown["links"].as_object().context("links")?.values() {
        let link = format!("{}{}", system.url(), link.as_str().unwrap_or_default());
        // NATS is not awaited: readiness may be 503 at first.
        let status = client.get(&link).send().await?.status();
        ensure!(status == 200 || link.ends_with("/readyz"), "{link}: {status}");
    }
    for (path, location) in [("/console", "/console/"), ("/docs", "/docs/")] {
        let answer = client.get(format!("{}{path}", system.url())).send().await?;
        assert_eq!(answer.status(), 308);
        assert_eq!(header(answer.headers(), "location"), location);
    }
    Ok(())
}

#[tokio::test]
async fn the_page_is_served_at_every_path_and_asked_for_again_each_time() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let get = |path: &str| system.http.get(format!("{}{path}", system.url()));
    let page = get("/console/").send().await?.error_for_status()?;
    assert_eq!(header(page.headers(), "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(page.headers(), "cache-control"), "no-cache");
    assert_eq!(header(page.headers(), "content-security-policy"), CONSOLE_POLICY);
    let tag = header(page.headers(), "etag").to_owned();
    let page = page.text().await?;
    ensure!(page.contains("<title>Tributary</title>"), "{page}");
    for path in ["/console/index.html", "/console/streams/order-1.5?at=17", "/console/a/b/c"] {
        assert_eq!(get(path).send().await?.error_for_status()?.text().await?, page, "{path}");
    }
    let unchanged = get("/console/").header("If-None-Match", &tag).send().await?;
    assert_eq!(unchanged.status(), 304);
    // A browser replaces the headers that it keeps by those of the 304.
    assert_eq!(header(unchanged.headers(), "content-security-policy"), CONSOLE_POLICY);
    assert_eq!(header(unchanged.headers(), "etag"), tag);
    assert!(unchanged.bytes().await?.is_empty());
    let head = system.http.head(format!("{}/console/", system.url())).send().await?;
    assert_eq!((head.status().as_u16(), header(head.headers(), "etag")), (200, &*tag));
    let post = system.http.post(format!("{}/console/", system.url())).send().await?;
    assert_eq!(post.status(), 405);
    Ok(())
}

/// Checks a file: compressed for callers that accept gzip, decoded for others, and 304 for those that have
/// it.
async fn file(system: &System, path: &str, media_type: &str, cache: &str) -> Result<()> {
    let get = || system.http.get(format!("{}{path}", system.url()));
    let plain = get().send().await?.error_for_status()?;
    assert_eq!(header(plain.headers(), "content-type"), media_type, "{path}");
    assert_eq!(header(plain.headers(), "cache-control"), cache, "{path}");
    assert_eq!(header(plain.headers(), "content-encoding"), "", "{path}");
    let tag = header(plain.headers(), "etag").to_owned();
    let plain = plain.bytes().await?;
    let compressed = get().header("Accept-Encoding", "gzip, deflate, br, zstd").send().await?;
    assert_eq!(header(compressed.headers(), "content-encoding"), "gzip", "{path}");
    assert_eq!(header(compressed.headers(), "etag"), tag, "{path}");
    let vary = compressed.headers().get_all("vary").iter();
    ensure!(vary.into_iter().any(|value| value == "accept-encoding"), "{path}");
    let compressed = compressed.bytes().await?;
    ensure!(compressed.starts_with(&[0x1f, 0x8b]), "{path} is gzip");
    ensure!(compressed.len() < plain.len(), "{path}: {} of {}", compressed.len(), plain.len());
    let unchanged = get().header("If-None-Match", &tag).send().await?;
    assert_eq!(unchanged.status(), 304, "{path}");
    assert_eq!(header(unchanged.headers(), "cache-control"), cache, "{path}");
    Ok(())
}

#[tokio::test]
async fn files_are_compressed_and_hashed_ones_are_kept_for_ever() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let page = system.http.get(format!("{}/console/", system.url())).send().await?.text().await?;
    let named: Vec<_> = page.split('"').filter(|text| text.starts_with("/console/")).collect();
    let of = |ending: &str| named.iter().copied().find(|path| path.ends_with(ending));
    let immutable = "public, max-age=31536000, immutable";
    let script = of(".js").with_context(|| page.clone())?;
    file(&system, script, "text/javascript; charset=utf-8", immutable).await?;
    let style = of(".css").with_context(|| page.clone())?;
    file(&system, style, "text/css; charset=utf-8", immutable).await?;
    file(&system, "/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", "no-cache")
        .await?;
    file(&system, "/docs/", "text/html; charset=utf-8", "no-cache").await?;
    for path in ["/console/assets/index-00000000.js", "/docs/missing.js", "/docs/../console"] {
        let answer = system.http.get(format!("{}{path}", system.url())).send().await?;
        // Of the last one, the client makes `/console`.
        let expected = if path.ends_with("console") { 308 } else { 404 };
        assert_eq!(answer.status(), expected, "{path}");
    }
    Ok(())
}

/// What is wrong with the headers of `answer`, if anything.
fn fault(answer: &Response, policy: &str, over_tls: bool) -> Option<String> {
    let tls_only = if over_tls { "max-age=31536000" } else { "" };
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", policy),
        ("strict-transport-security", tls_only),
    ];
    expected.into_iter().find_map(|(name, value)| {
        let given = header(answer.headers(), name);
        (given != value).then(|| format!("{} {}: {name}: {given}", answer.url(), answer.status()))
    })
}

#[tokio::test]
async fn every_response_limits_what_a_browser_may_do_with_it() -> Result<()> {
    let system = System::start().await?;
    let proxy = [("TRUSTED_PROXIES", "127.0.0.1")];
    let _process = system.serve_with(&["http"], &proxy).await?;
    let document = system.json("/openapi.json").await?;
    let mut paths = vec![
        ("/console/".to_owned(), CONSOLE_POLICY),
        ("/console/streams/order-1".to_owned(), CONSOLE_POLICY),
        ("/docs/".to_owned(), DOCS_POLICY),
        ("/docs/swagger-ui.css".to_owned(), DOCS_POLICY),
        ("/openapi.json".to_owned(), API_POLICY),
        ("/console/assets/missing.js".to_owned(), API_POLICY),
        ("/nothing".to_owned(), API_POLICY),
        ("/console".to_owned(), API_POLICY),
    ];
    let documented = document["paths"].as_object().context("paths")?.keys();
    paths.extend(documented.map(|path| (path.replace(['{', '}'], ""), API_POLICY)));
    let client = client()?;
    let mut faults = Vec::new();
    for (path, policy) in &paths {
        let url = format!("{}{path}", system.url());
        // Without a token, a body that no operation reads, and, as the administrator, what can be read.
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let policy = if method == Method::GET { policy } else { API_POLICY };
            faults.extend(fault(&client.request(method, &url).send().await?, policy, false));
        }
        let read = client.get(&url).bearer_auth(&system.token).header("X-Forwarded-Proto", "https");
        faults.extend(fault(&read.send().await?, policy, true));
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    ensure!(paths.len() > 60, "{} paths", paths.len());
    Ok(())
}
