//! `tributary rules`: look at alert rules, set them, try them out on past readings.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// What a table shows of what would have fired.
const COLUMNS: [&str; 6] = ["time", "device_id", "what", "rule", "value", "position"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what rules would have fired on past readings, and why; nothing is written
    Test(Test),
    /// Show the rules of a user, or everybody's
    Show(Show),
    /// Set the rules of a user, or everybody's
    Set(Set),
}

#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// A file with rules, as in `PUT /api/v1/users/{user_id}/config`; `-` is stdin
    rules: PathBuf,
    /// Whose devices; one's own if left out
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Only this device
    #[arg(long, value_name = "DEVICE")]
    device_id: Option<String>,
    /// Readings of then or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Readings of before then (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Whose; everybody's if left out
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// A file with rules; `-` is stdin
    rules: PathBuf,
    /// Whose; everybody's if left out
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Test(args) => test(args).await,
        Command::Show(args) => {
            let rules = Client::new(args.server)?.get(&path(args.user_id.as_deref()), &()).await?;
            output::json(&rules)
        }
        Command::Set(args) => {
            let rules = read(&args.rules).await?;
            Client::new(args.server)?.put(&path(args.user_id.as_deref()), &rules).await?;
            Ok(())
        }
    }
}

async fn test(args: Test) -> Result<(), Failure> {
    let mut request = read(&args.rules).await?;
    let given = [
        ("user_id", args.user_id),
        ("device_id", args.device_id),
        ("from", args.from),
        ("to", args.to),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            request.insert(name.to_owned(), value.into());
        }
    }
    let tried = Client::new(args.server)?.post("/api/v1/alerts/dry-run", &request).await?;
    if args.json {
        return output::json(&tried);
    }
    let fired = tried["alerts"].as_array().map_or(&[][..], Vec::as_slice);
    rows::show(fired, &COLUMNS, false)?;
    for alert in fired {
        for step in alert["steps"].as_array().into_iter().flatten() {
            let (device, position) = (&alert["device_id"], &step["position"]);
            let verdict = step["verdict"].as_str().unwrap_or_default();
            output::line(&format!("{} at {position}: {verdict}", text(device)));
        }
    }
    let more = if tried["truncated"] == json!(true) { "; there are more" } else { "" };
    output::note(&format!("{} readings of {} devices{more}", tried["readings"], tried["devices"]));
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = if file.as_os_str() == "-" {
        let stdin = || std::io::read_to_string(std::io::stdin());
        tokio::task::spawn_blocking(stdin).await.map_err(anyhow::Error::from)?
    } else {
        tokio::fs::read_to_string(file).await
    };
    let text = text.with_context(|| file.display().to_string())?;
    Ok(serde_json::from_str(&text).with_context(|| format!("{}: not rules", file.display()))?)
}

fn path(user_id: Option<&str>) -> String {
    match user_id {
        None => "/api/v1/config".to_owned(),
        Some(user_id) => {
            let encoded = percent_encoding::NON_ALPHANUMERIC;
            let user_id = percent_encoding::utf8_percent_encode(user_id, encoded);
            format!("/api/v1/users/{user_id}/config")
        }
    }
}
