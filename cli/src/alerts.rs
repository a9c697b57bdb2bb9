//! `tributary alerts`: look at alerts, ask why, acknowledge them.

use serde_json::json;
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// What a table shows of an alert.
const COLUMNS: [&str; 8] =
    ["id", "severity", "user_id", "device_id", "rule", "value", "state", "acknowledged"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List alerts, the last raised first
    List(List),
    /// Say why an alert was raised
    Explain(One),
    /// Acknowledge an alert
    Acknowledge(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Only those that are `active`, or `cleared`
    #[arg(long)]
    state: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Which
    id: Uuid,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let query = [
                ("user_id", args.user_id),
                ("state", args.state),
                ("limit", Some(args.limit.to_string())),
            ];
            let page = Client::new(args.server)?.list("/api/v1/alerts", &query).await?;
            rows::show(&page, &COLUMNS, args.json)
        }
        Command::Explain(args) => {
            let path = format!("/api/v1/alerts/{}/explanation", args.id);
            output::json(&Client::new(args.server)?.get(&path, &()).await?)
        }
        Command::Acknowledge(args) => {
            let path = format!("/api/v1/alerts/{}/acknowledge", args.id);
            Client::new(args.server)?.post(&path, &json!({})).await?;
            Ok(())
        }
    }
}
