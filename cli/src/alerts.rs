//! `tributary alerts`: list, explain and acknowledge alerts.

use serde_json::{Value, json};
use uuid::Uuid;

use super::outcome::Failure;
use super::output;
use super::rows::{Listing, WAIT, connect};
use gateway::config::Server;

const PATH: &str = "/api/v1/alerts";
/// Columns of the table.
const COLUMNS: [&str; 8] =
    ["id", "severity", "user_id", "device_id", "rule", "value", "state", "acknowledged"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List alerts, most recently raised first
    List(List),
    /// Show the readings, the rule and the steps that raised an alert
    Explain(One),
    /// Acknowledge an alert
    Acknowledge(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List only alerts of this user's devices
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// List only alerts in this state: `active` or `cleared`
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Alert id
    id: Uuid,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { user_id, state, listing }) => {
            listing.show(PATH, &[("user_id", user_id), ("state", state)], &COLUMNS).await
        }
        Command::Explain(One { id, server }) => {
            let path = format!("{PATH}/{id}/explanation");
            output::json(&connect(&server)?.get(&path).send::<Value>().await?.body)
        }
        Command::Acknowledge(One { id, server }) => {
            let path = format!("{PATH}/{id}/acknowledge");
            let client = connect(&server)?;
            client.post(&path).json(&json!({})).wait(WAIT).send::<Value>().await?;
            Ok(())
        }
    }
}
