//! The log of a request: each line has its trace id, in both formats and whatever the level of the line.

use anyhow::{Context, Result, ensure};
use devservers::testing::free_port;
use serde_json::{Value, json};
use tests::{Process, System};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Sends a request that is refused and one that starts a rebuild. Returns the lines of both.
async fn lines(system: &System, format: &str, filter: &str) -> Result<Vec<String>> {
    let port = free_port()?.to_string(); // The port in the log has another form in each format.
    let more = [("TRIBUTARY_LOG", filter), ("TRIBUTARY_LOG_FORMAT", format), ("PORT", &port)];
    let mut environment = system.environment.clone();
    environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut process = Process::start(&["serve", "http"], &environment)?;
    process.logs("HTTP server listening").await?;
    let url = format!("http://127.0.0.1:{port}");
    let get = system.http.get(format!("{url}/nowhere")).header("traceparent", TRACEPARENT);
    ensure!(get.send().await?.status() == 404);
    process.logs("HTTP request refused").await?;
    let post = system.http.post(format!("{url}/api/v1/projections/works/rebuild"));
    let post = post.bearer_auth(&system.token).header("traceparent", TRACEPARENT).json(&json!({}));
    post.send().await?.error_for_status()?;
    process.logs_any(&["projection rebuilt", "rebuild failed"]).await?;
    let wanted = ["HTTP request refused", "projection rebuilt", "rebuild failed"];
    let log = process.log();
    let lines = log.lines().filter(|line| wanted.iter().any(|text| line.contains(text)));
    Ok(lines.map(str::to_owned).collect())
}

#[tokio::test]
async fn each_line_of_a_request_has_its_trace_id() -> Result<()> {
    let system = System::start().await?;
    let _projector = system.serve(&["projector"]).await?;
    system.caught_up().await?;
    // The level of the request's own module is warn: spans must be admitted by every filter.
    let narrow =
        "warn,gateway::app=info,gateway::http::refusal_log=info,gateway::http::rebuilds=info";
    for filter in ["info,sqlx=warn", narrow] {
        let text = lines(&system, "text", filter).await?;
        ensure!(text.len() == 2, "{filter}: {text:?}");
        for line in &text {
            let (span, _) = line.split_once("}:").with_context(|| line.clone())?;
            ensure!(span.contains(&format!("trace_id=\"{TRACE}\"")), "{filter}: {line}");
        }
        let json = lines(&system, "json", filter).await?;
        ensure!(json.len() == 2, "{filter}: {json:?}");
        for line in &json {
            let line: Value = serde_json::from_str(line)?;
            let spans = line["spans"].as_array().with_context(|| line.to_string())?;
            ensure!(spans.iter().any(|span| span["trace_id"] == TRACE), "{filter}: {line}");
            ensure!(line["level"] == "INFO", "{filter}: {line}");
        }
        ensure!(json[0].contains("\"status\":404"), "{filter}: {}", json[0]);
    }
    Ok(())
}
