//! A Prometheus of a test's own, with the configuration that the test gives it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::DEADLINE;

/// A running Prometheus, killed when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    _process: Child,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts on `prometheus.yml` in `folder`, on a free port. Returns once it evaluates its rules.
    pub async fn start(folder: &Path) -> Result<Self> {
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("prometheus is not installed")?;
        let mut lines = BufReader::new(process.stderr.take().context("stderr is piped")?).lines();
        let mut address = None;
        timeout(DEADLINE, async {
            loop {
                let line = lines.next_line().await?.context("prometheus ended")?;
                eprintln!("[prometheus] {line}");
                if let Some((_, listening)) = line.split_once("msg=\"Listening on\" address=") {
                    address = Some(listening.to_owned());
                } else if line.contains("Starting rule manager") {
                    return anyhow::Ok(());
                }
            }
        })
        .await??;
        tokio::task::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("[prometheus] {line}");
            }
        });
        let url = format!("http://{}", address.context("the address is logged before")?);
        Ok(Self { _process: process, url, http: client::http(None)?.build()? })
    }

    /// Calls the HTTP API, such as `rules`. Returns `data` of the response.
    async fn call(&self, path: &str, form: &[(&str, &str)]) -> Result<Value> {
        let url = format!("{}/api/v1/{path}", self.url);
        let request = match form {
            [] => self.http.get(url),
            form => self.http.post(url).form(form),
        };
        let mut response: Value = request.send().await?.json().await?;
        ensure!(response["status"] == "success", "{form:?}: {response}");
        Ok(response["data"].take())
    }

    /// Runs an instant query. Returns the value of each series.
    pub async fn query(&self, expression: &str) -> Result<Vec<f64>> {
        let data = self.call("query", &[("query", expression)]).await?;
        ensure!(data["resultType"] == "vector", "{expression}: {data}");
        let series = data["result"].as_array().context("a vector")?;
        let value = |series: &Value| series["value"][1].as_str()?.parse().ok();
        series.iter().map(|series| value(series).context("a number")).collect()
    }

    /// Returns the names of all metrics that Prometheus has samples of.
    pub async fn metric_names(&self) -> Result<BTreeSet<String>> {
        let names = self.call("label/__name__/values", &[]).await?;
        Ok(serde_json::from_value(names)?)
    }

    /// Returns every rule, as the API describes it.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.call("rules", &[]).await?;
        let groups = data["groups"].as_array().context("groups")?;
        Ok(groups.iter().filter_map(|group| group["rules"].as_array()).flatten().cloned().collect())
    }

    /// Returns the names of the alerts that fire.
    pub async fn firing(&self) -> Result<BTreeSet<String>> {
        let data = self.call("alerts", &[]).await?;
        let alerts = data["alerts"].as_array().context("alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.into())).collect())
    }
}
