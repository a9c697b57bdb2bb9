//! Metrics and health of every role on a port of its own; labels from bounded sets.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tests::{Process, System, eventually};

/// Waits until a process serves `--metrics-listen`. Returns its URL.
async fn metrics_url(process: &mut Process) -> Result<String> {
    let address = process.logged("metrics server listening address=").await?;
    Ok(format!("http://{address}"))
}

#[tokio::test]
async fn every_role_serves_health_and_metrics_without_a_token_on_its_own_port() -> Result<()> {
    let system = System::start().await?;
    for role in ["http", "mqtt", "relay", "projector", "worker"] {
        let own = [("METRICS_LISTEN", "127.0.0.1:0")];
        let mut process = system.serve_with(&[role], &own).await?;
        let url = metrics_url(&mut process).await?;
        for path in ["/livez", "/readyz", "/startupz"] {
            eventually("the process is ready", async || {
                Ok(system.http.get(format!("{url}{path}")).send().await?.status() == 200)
            })
            .await?;
        }
        let metrics = system.http.get(format!("{url}/metrics")).send().await?;
        ensure!(metrics.status() == 200, "{role}: {}", metrics.status());
        let text = metrics.text().await?;
        ensure!(text.contains("tributary_projection_state"), "{role}:\n{text}");
        let nothing = system.http.get(format!("{url}/api/v1/works")).send().await?;
        ensure!(nothing.status() == 404, "{role}: {}", nothing.status());
        ensure!(process.terminate().await? == Some(0), "{role} ends");
    }
    Ok(())
}

#[tokio::test]
async fn metrics_on_the_public_port_are_for_operators() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let user = system.caller(system.token_for("user", "user").await?);
    let operator = system.caller(system.token_for("operator", "operator").await?);
    let anonymous = system.http.get(format!("{}/metrics", system.url())).send().await?;
    assert_eq!(anonymous.status(), 401);
    assert_eq!(user.get("/metrics").send().await?.status(), 403);
    assert_eq!(operator.get("/metrics").send().await?.status(), 200);
    Ok(())
}

/// Whether `value` belongs to the bounded set of values of `label`.
fn is_bounded(label: &str, value: &str, routes: &[String]) -> bool {
    const METHODS: [&str; 10] =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "other"];
    let is_word = || value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match label {
        "method" => METHODS.contains(&value),
        "route" => value == "unmatched" || routes.iter().any(|route| route == value),
        "status" => value.len() == 3 && value.parse::<u16>().is_ok(),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "projection" | "consumer" => gateway::consumer_names().contains(&value),
        "bridge" => value == "mqtt",
        // Of the build: one value in a process.
        "version" => value == env!("CARGO_PKG_VERSION"),
        "commit" => value.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        // Words that the source holds.
        "state" | "outcome" | "reason" | "cause" => is_word(),
        _ => false,
    }
}

#[tokio::test]
async fn clients_cannot_invent_labels() -> Result<()> {
    const INVENTED: usize = 50;
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    for n in 0..INVENTED {
        let method = Method::from_bytes(format!("INVENTED{n}").as_bytes())?;
        for path in [
            format!("/invented/{n}"),
            format!("/api/v1/works/{n}"),
            format!("/docs/{n}"),
            format!("/console/{n}"),
        ] {
            let url = format!("{}{path}", system.url());
            system.http.request(method.clone(), &url).send().await?;
            system.http.get(&url).bearer_auth(&system.token).send().await?;
        }
    }
    system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    let document = system.json("/openapi.json").await?;
    let paths = document["paths"].as_object().context("paths")?;
    let pages = ["/docs", "/docs/", "/docs/{*rest}", "/console", "/console/", "/console/{*path}"];
    let others = pages.into_iter().chain(["/openapi.json"]).map(str::to_owned);
    let routes: Vec<_> = paths.keys().cloned().chain(others).collect();

    let text = system.get("/metrics").send().await?.text().await?;
    let mut labels = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, rest)) = line.split_once('{') else { continue };
        let (list, _) = rest.rsplit_once('}').with_context(|| line.to_owned())?;
        for label in list.trim_end_matches('"').split("\",") {
            let (name, value) = label.split_once("=\"").with_context(|| line.to_owned())?;
            ensure!(is_bounded(name, value, &routes), "{name}={value} in {line}");
            labels += 1;
        }
    }
    ensure!(labels > 100, "{labels} labels:\n{text}");
    ensure!(text.contains("method=\"other\",route=\"unmatched\""), "{text}");
    Ok(())
}
