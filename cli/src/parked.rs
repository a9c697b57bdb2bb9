//! `tributary parked`: streams that a consumer could not go on with; retry them, or skip an event.

use client::{Client, segment};
use serde_json::{Value, json};

use super::outcome::Failure;
use super::output;
use super::rows::{self, Common, Server};

const PATH: &str = "/api/v1/parked";
/// Columns of a table of parked streams.
const COLUMNS: [&str; 6] = ["key", "position", "attempts", "retrying", "parked_at", "error"];
/// Columns of a table of skipped events.
const SKIPPED: [&str; 6] =
    ["consumer", "position", "stream_id", "skipped_by", "skipped_at", "reason"];
/// Items per page of a list.
const PAGE: usize = 500;
/// How long a retry or a skip is awaited, in seconds: the longest that the API allows.
const WAIT: u8 = 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List parked streams, with their error and number of attempts
    List(Common),
    /// Show a parked stream, with the event that could not be applied
    Show(One),
    /// Retry a parked stream, or all; waits up to 20 seconds for each
    Retry(Retry),
    /// Skip the event at which a stream is parked, permanently
    Skip(Skip),
    /// List skipped events, with who skipped them and why
    Skipped(Common),
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Key of the parked stream: `consumer:stream`, as listed
    key: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Retry {
    /// Key of the parked stream: `consumer:stream`, as listed
    #[arg(required_unless_present = "all")]
    key: Option<String>,
    /// Retry every parked stream
    #[arg(long, conflicts_with = "key")]
    all: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Skip {
    /// Key of the parked stream: `consumer:stream`, as listed
    key: String,
    /// Reason, recorded with the skipped event
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(PATH, &COLUMNS, &args).await,
        Command::Skipped(args) => list("/api/v1/skipped", &SKIPPED, &args).await,
        Command::Show(args) => {
            let client = args.server.connect().await?;
            output::json(&client.get(&path(&args.key, "")).send::<Value>().await?.body)
        }
        Command::Retry(args) => {
            let client = args.server.connect().await?;
            let keys = if let Some(key) = args.key {
                vec![key]
            } else {
                let parked = all(&client, PATH).await?;
                let keys = parked.iter().filter_map(|row| row["key"].as_str());
                keys.map(str::to_owned).collect()
            };
            let (mut left, mut printed) = (0, Ok(()));
            for key in &keys {
                let (applied, line) = execute(&client, key, "/retry", &json!({})).await?;
                left += usize::from(!applied);
                printed = printed.and_then(|()| output::line(&line));
            }
            output::conclude(printed, result(left))
        }
        Command::Skip(args) => {
            let (client, body) = (args.server.connect().await?, json!({"reason": args.reason}));
            let (applied, line) = execute(&client, &args.key, "/skip", &body).await?;
            output::conclude(output::line(&line), result(usize::from(!applied)))
        }
    }
}

async fn list(path: &str, columns: &[&str], args: &Common) -> Result<(), Failure> {
    rows::show_all(&all(&args.server.connect().await?, path).await?, columns, args.format)
}

/// Returns all items of a list. It has one row per parked stream, so it is short.
async fn all(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
    Ok(client.get(path).query(&[("limit", PAGE)]).all().await?)
}

/// Retries or skips, and returns whether the stream is no longer parked, and the outcome in words. Not
/// repeated: a second skip could skip the next event.
async fn execute(
    client: &Client,
    key: &str,
    action: &str,
    body: &Value,
) -> Result<(bool, String), Failure> {
    let request = client.post(&path(key, action)).json(body).wait(WAIT).once();
    let outcome: Value = request.send().await?.body;
    let error = outcome["parked"]["error"].as_str().unwrap_or_default();
    let position = &outcome["parked"]["position"];
    let words = match outcome["outcome"].as_str().unwrap_or_default() {
        "applied" => format!("{key}: resumed"),
        "parked" => format!("{key}: parked again at position {position}: {error}"),
        _ => format!("{key}: still in progress at the consumer"),
    };
    Ok((outcome["outcome"] == "applied", words))
}

fn result(left: usize) -> Result<(), Failure> {
    if left == 0 {
        return Ok(());
    }
    Err(anyhow::anyhow!("{left} streams are still parked; see `tributary parked list`").into())
}

fn path(key: &str, action: &str) -> String {
    format!("{PATH}/{}{action}", segment(key))
}
