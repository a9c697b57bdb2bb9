//! `tributary parked`: streams that a projection or a process manager has set aside, and what is to
//! become of them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// What a table shows of a parked stream.
const COLUMNS: [&str; 6] = ["key", "position", "attempts", "retrying", "parked_at", "error"];
/// What a table shows of a skipped event.
const SKIPPED: [&str; 6] =
    ["consumer", "position", "stream_id", "skipped_by", "skipped_at", "reason"];
/// Streams asked for at once.
const PAGE: usize = 500;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what is parked, with the error and the attempts
    List(List),
    /// Show one, with the event it stopped at
    Show(One),
    /// Have one tried again, or all; waits up to 20 seconds for each
    Retry(Retry),
    /// Pass over the event one is parked at, for ever
    Skip(Skip),
    /// List what was passed over, by whom and why
    Skipped(List),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Which: `consumer:stream`, as the list shows it
    key: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// Which: `consumer:stream`, as the list shows it
    #[arg(required_unless_present = "all")]
    key: Option<String>,
    /// All that are parked
    #[arg(long, conflicts_with = "key")]
    all: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Skip {
    /// Which: `consumer:stream`, as the list shows it
    key: String,
    /// Why; it is recorded
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let parked = all(&Client::new(args.server)?, "/api/v1/parked").await?;
            rows::show(&parked, &COLUMNS, args.json)
        }
        Command::Skipped(args) => {
            let skipped = all(&Client::new(args.server)?, "/api/v1/skipped").await?;
            rows::show(&skipped, &SKIPPED, args.json)
        }
        Command::Show(args) => {
            output::json(&Client::new(args.server)?.get(&path(&args.key, ""), &()).await?)
        }
        Command::Retry(args) => {
            let client = Client::new(args.server)?;
            let keys = if let Some(key) = args.key {
                vec![key]
            } else {
                let parked = all(&client, "/api/v1/parked").await?;
                let keys = parked.iter().filter_map(|row| row["key"].as_str());
                keys.map(str::to_owned).collect()
            };
            let mut left = 0;
            for key in &keys {
                let outcome = client.post_patiently(&path(key, "/retry"), &json!({})).await?;
                left += usize::from(!applied(key, &outcome));
            }
            done(left)
        }
        Command::Skip(args) => {
            let client = Client::new(args.server)?;
            let body = json!({"reason": args.reason});
            let outcome = client.post_patiently(&path(&args.key, "/skip"), &body).await?;
            done(usize::from(!applied(&args.key, &outcome)))
        }
    }
}

fn path(key: &str, rest: &str) -> String {
    format!("/api/v1/parked/{}{rest}", utf8_percent_encode(key, NON_ALPHANUMERIC))
}

/// Everything on a list, page by page. There is one row a parked stream: few, or something is very
/// wrong.
async fn all(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
    client.pages(path, PAGE).await
}

/// Says what became of one; whether it flows again.
fn applied(key: &str, outcome: &Value) -> bool {
    let error = outcome["parked"]["error"].as_str().unwrap_or_default();
    let position = &outcome["parked"]["position"];
    match outcome["outcome"].as_str().unwrap_or_default() {
        "applied" => output::line(&format!("{key}: flows again")),
        "parked" => output::line(&format!("{key}: parked again at {position}: {error}")),
        _ => output::line(&format!("{key}: not over yet; it goes on by itself")),
    }
    outcome["outcome"] == "applied"
}

fn done(left: usize) -> Result<(), Failure> {
    if left == 0 { Ok(()) } else { Err(anyhow::anyhow!("{left} are parked still").into()) }
}
