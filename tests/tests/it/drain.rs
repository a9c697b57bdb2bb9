//! Shutdown under load: readiness fails first, then the listener closes. And `tributary health`, which
//! asks for readiness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Options, Process, System, eventually, tributary};
use tokio::process::Command;
use tokio::task::JoinSet;

const DRAIN: Duration = Duration::from_secs(6);
/// Requests that are sent after SIGTERM.
const REQUESTS: usize = 300;
const CLIENTS: usize = 10;

async fn signal(process: &Process) -> Result<()> {
    let sent = Command::new("kill").args(["-TERM", &process.pid().to_string()]).status().await?;
    ensure!(sent.success(), "SIGTERM cannot be sent");
    Ok(())
}

/// Runs `tributary health` against `port`. Returns its exit code and what it prints.
async fn health(port: u16) -> Result<(Option<i32>, String)> {
    let output = Command::new(tributary())
        .args(["health", "--port", &port.to_string()])
        .env_remove("METRICS_LISTEN")
        .output()
        .await?;
    let printed = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(printed)?))
}

/// A process, as a load balancer knows it.
struct Backend {
    port: u16,
    ready: AtomicBool,
    answered: AtomicUsize,
}

impl Backend {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Keeps `ready` up to date, as a load balancer does.
    async fn probe(&self, http: reqwest::Client) {
        loop {
            let response = http.get(self.url("/readyz")).send().await;
            let ready = response.is_ok_and(|response| response.status() == 200);
            self.ready.store(ready, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Sends requests to backends that are ready, over connections that are kept, until `stop`. Returns
/// their number.
async fn send(backends: [Arc<Backend>; 2], token: String, stop: Arc<AtomicBool>) -> Result<usize> {
    let http = client::http(None)?.build()?;
    for count in 0.. {
        if stop.load(Ordering::SeqCst) {
            return Ok(count);
        }
        let ready = backends.iter().cycle().skip(count % 2).take(2);
        let ready = ready.filter(|backend| backend.ready.load(Ordering::SeqCst));
        let backend = ready.into_iter().next().context("no backend is ready")?;
        let request = http.get(backend.url("/api/v1/users/me")).bearer_auth(&token);
        let response = request.send().await.with_context(|| format!("request {count}"))?;
        ensure!(response.status().as_u16() < 500, "{}", response.status());
        response.bytes().await.with_context(|| format!("response {count}"))?;
        backend.answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(0)
}

#[tokio::test]
async fn no_request_is_reset_while_a_process_shuts_down_under_load() -> Result<()> {
    let system = System::start().await?;
    let drain = format!("{}s", DRAIN.as_secs());
    let mut first = system.serve_with(&["http"], &[("HTTP_DRAIN", &drain)]).await?;
    let mut second = system.serve_with(&["http"], &[("PORT", "0")]).await?;
    let mut probes = JoinSet::new();
    let mut backends = Vec::new();
    for port in [first.http_port().await?, second.http_port().await?] {
        let backend = Backend { port, ready: false.into(), answered: 0.into() };
        let backend = Arc::new(backend);
        probes.spawn({
            let (backend, http) = (Arc::clone(&backend), system.http.clone());
            async move { backend.probe(http).await }
        });
        eventually("it is ready", async || Ok(backend.ready.load(Ordering::SeqCst))).await?;
        backends.push(backend);
    }
    let backends: [_; 2] = backends.try_into().ok().context("two of them")?;
    let [draining, staying] = backends.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(send(backends.clone(), system.token.clone(), Arc::clone(&stop)));
    }
    let answered = |backend: &Backend| backend.answered.load(Ordering::SeqCst);
    eventually("both answer", async || Ok(answered(&draining).min(answered(&staying)) > CLIENTS))
        .await?;

    let (terminated, before) = (Instant::now(), answered(&draining) + answered(&staying));
    signal(&first).await?;
    eventually("the load balancer notices", async || Ok(!draining.ready.load(Ordering::SeqCst)))
        .await?;
    // It still serves: clients that have not noticed yet, over connections that end with the answer.
    let http = &system.http;
    let late = http.get(draining.url("/livez")).send().await?;
    assert_eq!(late.status(), 200);
    assert_eq!(late.headers()["connection"], "close");
    let refusal = http.get(draining.url("/readyz")).send().await?;
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.json::<Value>().await?["reason"], "draining");
    let (code, printed) = health(draining.port).await?;
    assert_eq!((code, printed.as_str()), (Some(1), "error: not ready: draining\n"));

    assert_eq!(first.exit_code().await?, Some(0));
    assert!(terminated.elapsed() >= DRAIN, "it ended after {:?}", terminated.elapsed());
    eventually("the requests are answered", async || {
        Ok(answered(&draining) + answered(&staying) >= before + REQUESTS)
    })
    .await?;
    stop.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for outcome in clients.join_all().await {
        sent += outcome?;
    }
    println!("{sent} requests, {} of them to the process that drained", answered(&draining));
    assert_eq!(second.terminate().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_a_process_that_drains() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve_with(&["http"], &[("HTTP_DRAIN", "1h")]).await?;
    signal(&process).await?;
    process.logs("draining, readiness checks fail from now on").await?;
    signal(&process).await?;
    assert_eq!(process.exit_code().await?, Some(1));
    // Without the role http there is nothing to drain.
    let mut worker = system.serve_with(&["worker"], &[("HTTP_DRAIN", "1h")]).await?;
    worker.logs("role started").await?; // From then on it handles signals.
    assert_eq!(worker.terminate().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn the_health_command_says_why_a_process_is_not_ready() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let process = system.serve_with(&["http"], &[]).await?;
    let port = system.url().rsplit_once(':').context("a port")?.1.parse()?;
    eventually("it is ready", async || Ok(health(port).await? == (Some(0), "ready\n".into())))
        .await?;
    let mut postgres = system.postgres.take().context("its own")?;
    postgres.stop().await;
    eventually("it is not ready", async || {
        let (code, printed) = health(port).await?;
        Ok(code == Some(1) && printed.starts_with("error: not ready: postgres: "))
    })
    .await?;
    postgres.restart().await?;
    system.postgres = Some(postgres);
    process.kill().await?;
    let (code, printed) = health(port).await?;
    assert_eq!(code, Some(1));
    assert!(
        printed.starts_with(&format!("error: no response from http://127.0.0.1:{port}/readyz"))
    );
    Ok(())
}
