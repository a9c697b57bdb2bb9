//! `tributary rules`: show and set alert rules, and test them on past readings.

use std::path::{Path, PathBuf};

use anyhow::Context;
use client::segment;
use serde_json::{Map, Value, json};

use super::outcome::Failure;
use super::output;
use super::output::OutputFormat;
use super::rows::{self, Common, Server, WAIT};
use super::when::{self, When};

/// Columns of a table of alerts that a test raised, updated or cleared.
const COLUMNS: [&str; 6] = ["time", "device_id", "what", "rule", "value", "position"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show which alerts the rules would have raised on past readings, and why; writes nothing
    Test(Test),
    /// Show the rules of a user, or the default rules
    Show(Show),
    /// Set the rules of a user, or the default rules
    Set(Set),
}

#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// File with rules, as in `PUT /api/v1/users/{user_id}/config`; `-` reads stdin
    rules: PathBuf,
    /// Test on the devices of this user; without it, on your own
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Test on this device only
    #[arg(long, value_name = "DEVICE")]
    device_id: Option<String>,
    /// Test on readings measured at TIME or later, such as `2 hours ago`
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Test on readings measured before TIME
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// User whose rules to show; without it, the default rules
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// File with rules; `-` reads stdin
    rules: PathBuf,
    /// User whose rules to set; without it, the default rules
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Test(args) => test(args).await,
        Command::Show(Show { user_id, server }) => {
            let path = path(user_id.as_deref());
            output::json(&server.connect().await?.get(&path).send::<Value>().await?.body)
        }
        Command::Set(Set { rules, user_id, server }) => {
            let (rules, path) = (read(&rules).await?, path(user_id.as_deref()));
            server.connect().await?.put(&path).json(&rules).wait(WAIT).send::<Value>().await?;
            Ok(())
        }
    }
}

async fn test(args: Test) -> Result<(), Failure> {
    let mut request = read(&args.rules).await?;
    let given = [
        ("user_id", args.user_id),
        ("device_id", args.device_id),
        ("from", when::parameter(args.from)),
        ("to", when::parameter(args.to)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            request.insert(name.to_owned(), value.into());
        }
    }
    let client = args.common.server.connect().await?;
    let test = client.post("/api/v1/alerts/dry-run").json(&request).wait(WAIT);
    let result: Value = test.send().await?.body;
    let format = args.common.format;
    if format.selected() == OutputFormat::Json {
        return output::json(&result);
    }
    let alerts = rows::items(&result, "alerts");
    rows::show_all(alerts, &COLUMNS, format)?;
    if format.selected() == OutputFormat::Csv {
        return Ok(());
    }
    for alert in alerts {
        let device = alert["device_id"].as_str().unwrap_or_default();
        for step in rows::items(alert, "steps") {
            let verdict = step["verdict"].as_str().unwrap_or_default();
            output::line(&format!("{device} at {}: {verdict}", step["position"]))?;
        }
    }
    let more = if result["truncated"] == json!(true) { "; truncated, there are more" } else { "" };
    let (readings, devices) = (&result["readings"], &result["devices"]);
    output::note(&format!("tested {readings} readings of {devices} devices{more}"));
    Ok(())
}

async fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = if file.as_os_str() == "-" {
        let stdin = || std::io::read_to_string(std::io::stdin());
        tokio::task::spawn_blocking(stdin).await.map_err(anyhow::Error::from)?
    } else {
        tokio::fs::read_to_string(file).await
    };
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let rules = serde_json::from_str(&text);
    Ok(rules.with_context(|| format!("{} is not a JSON object with rules", file.display()))?)
}

fn path(user_id: Option<&str>) -> String {
    match user_id {
        None => "/api/v1/config".to_owned(),
        Some(user_id) => format!("/api/v1/users/{}/config", segment(user_id)),
    }
}
