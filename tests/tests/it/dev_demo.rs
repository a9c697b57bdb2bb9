//! The demo of `tributary dev`: it makes events in every context, goes on after a restart, and can be
//! left out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{eventually, successful};
use tokio::process::{Child, Command};

/// A running `tributary dev` with the data in `folder`.
struct Dev {
    folder: PathBuf,
    process: Child,
    url: String,
    token: String,
}

impl Dev {
    async fn start(folder: &Path, options: &[&str]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let environment = folder.join("data/dev.env");
        if environment.exists() {
            std::fs::remove_file(&environment)?; // Of the run before.
        }
        let process = Command::new(tests::tributary())
            .args(["dev", "--port", "0", "--directory"])
            .arg(folder.join("data"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("banner"))?)
            .stderr(File::create(folder.join("log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let banner = folder.join("banner");
        eventually("dev is up", async || {
            Ok(std::fs::read_to_string(&banner)?.contains("Ctrl-C stops it"))
        })
        .await
        .with_context(|| std::fs::read_to_string(folder.join("log")).unwrap_or_default())?;
        let environment = std::fs::read_to_string(environment)?;
        let value = |name: &str| {
            let line = environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            line.map(|value| value.trim_matches('\'').to_owned()).context(name.to_owned())
        };
        let (url, token) = (value("TRIBUTARY_URL")?, value("TRIBUTARY_TOKEN")?);
        Ok(Self { folder: folder.to_owned(), process, url, token })
    }

    async fn json(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        successful(client::http(None)?.build()?.get(url).bearer_auth(&self.token)).await
    }

    /// Follows the link in `line` of the banner, whose code signs the administrator in, once.
    async fn sign_in_by_link(&self, line: &str) -> Result<()> {
        let link = line.split_whitespace().find_map(|word| word.split_once("/console/#code="));
        let (origin, code) = link.context("a link with a code")?;
        let http = client::http(None)?.build()?;
        let send = || {
            let request = http.post(format!("{origin}/api/v1/auth/session/code"));
            request.header("Tributary-Console", "1").json(&json!({"code": code}))
        };
        let session = successful(send()).await?;
        let token = session["access_token"].as_str().context("an access token")?;
        let me = http.get(format!("{origin}/api/v1/users/me"));
        let me = successful(me.bearer_auth(token)).await?;
        ensure!(me["role"] == "admin", "{me}");
        ensure!(send().send().await?.status() == 401, "the code was used");
        Ok(())
    }

    /// The events of the log that the query selects.
    async fn events(&self, query: &str) -> Result<Vec<Value>> {
        let page = self.json(&format!("/api/v1/events?limit=500&{query}")).await?;
        Ok(page["items"].as_array().context("a page")?.clone())
    }

    async fn head(&self) -> Result<i64> {
        let last = self.events("order=desc").await?;
        last.first().and_then(|event| event["position"].as_i64()).context("the log has events")
    }

    /// Waits for an event after `position` that the query selects.
    async fn event_after(&self, position: i64, query: &str) -> Result<()> {
        eventually(query, async || {
            Ok(!self.events(&format!("after={position}&{query}")).await?.is_empty())
        })
        .await
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("log"))?)
    }

    /// Ends it as Ctrl-C does. It must end in time, and have logged no error.
    async fn interrupt(mut self) -> Result<()> {
        let pid = self.process.id().context("it runs")?.to_string();
        Command::new("kill").args(["-INT", &pid]).status().await?;
        let exit = tokio::time::timeout(tests::DEADLINE, self.process.wait()).await;
        let exit = exit.context("it has not ended after SIGINT")??;
        let log = self.log()?;
        ensure!(exit.success(), "{exit}: {log}");
        for unwanted in ["ERROR", "panicked", "an action of the demo failed", "shutdown timed out"]
        {
            ensure!(!log.contains(unwanted), "{unwanted}: {log}");
        }
        Ok(())
    }
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tributary-{name}-{}", std::process::id()))
}

#[tokio::test]
async fn every_context_moves_and_goes_on_after_a_restart() -> Result<()> {
    let folder = folder("demo");
    let fast = ["--demo-speed", "5"];
    let dev = Dev::start(&folder, &fast).await?;
    let banner = std::fs::read_to_string(folder.join("banner"))?;
    let first = banner.lines().find(|line| !line.is_empty()).unwrap_or_default();
    ensure!(first.contains("/console/") && banner.contains("--quiet-demo"), "{banner}");
    dev.sign_in_by_link(first).await?;

    let start = dev.head().await?;
    for context in ["telemetry", "orders", "works", "documents", "projects", "page_views", "alerts"]
    {
        dev.event_after(start, &format!("context={context}")).await?;
    }
    for event in ["order_shipped", "stock_released", "stock_refused"] {
        dev.event_after(start, &format!("type={event}")).await?;
    }
    // The births may come before the banner.
    dev.event_after(0, "type=device_connected").await?;
    eventually("an order fails for lack of stock", async || {
        let cancelled = dev.events(&format!("after={start}&type=order_cancelled")).await?;
        Ok(cancelled.iter().any(|event| event["data"]["reason"] == "out_of_stock"))
    })
    .await?;
    eventually("an alert of a new reading is raised and cleared", async || {
        let alerts = dev.events(&format!("after={start}&context=alerts")).await?;
        let mut raised = alerts.iter().filter(|event| {
            event["type"] == "alert_raised"
                && event["data"]["because"].as_i64().is_some_and(|position| position > start)
        });
        let is_cleared = |raised: &Value| {
            alerts.iter().any(|event| {
                event["type"] == "alert_cleared" && event["stream_id"] == raised["stream_id"]
            })
        };
        Ok(raised.any(is_cleared))
    })
    .await?;
    eventually("a work is demanded over each door", async || {
        let demanded = dev.events("type=work_demanded").await?;
        let codes = demanded.iter().filter_map(|event| event["data"]["work_code"].as_str());
        let codes: Vec<_> = codes.collect();
        let has = |prefix: &str| codes.iter().any(|code| code.starts_with(prefix));
        Ok(has("consumer-") && has("api-"))
    })
    .await?;
    dev.interrupt().await?;

    let dev = Dev::start(&folder, &fast).await?;
    let again = dev.head().await?;
    dev.event_after(again, "type=reading_recorded").await?;
    dev.event_after(again, "type=order_shipped").await?;
    for (path, expected) in
        [("products", 5), ("users", 4), ("projects", 1), ("tasks", 6), ("devices", 6)]
    {
        let list = dev.json(&format!("/api/v1/{path}")).await?;
        let count = list["items"].as_array().map(Vec::len);
        ensure!(count == Some(expected), "{path}: {list}");
    }
    let rejected = dev.json("/api/v1/rejections").await?;
    ensure!(rejected["items"].as_array().is_some_and(Vec::is_empty), "{rejected}");
    dev.interrupt().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[tokio::test]
async fn without_the_demo_nothing_moves_by_itself() -> Result<()> {
    let folder = folder("quiet-demo");
    let dev = Dev::start(&folder, &["--quiet-demo"]).await?;
    ensure!(!std::fs::read_to_string(folder.join("banner"))?.contains("--quiet-demo"));
    eventually("the agent has sampled the host for a second time", async || {
        Ok(dev.events("context=host").await?.len() > 1)
    })
    .await?;
    for (event, expected) in [
        ("reading_recorded", 6 * 60),
        ("page_viewed", 400),
        ("work_demanded", 2),
        ("stock_received", 5),
        ("task_created", 6),
        ("order_placed", 0),
        ("document_recorded", 0),
        ("task_status_changed", 0),
    ] {
        let events = dev.events(&format!("type={event}")).await?.len();
        ensure!(events == expected, "{events} events {event}");
    }
    dev.interrupt().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
