//! `tributary alerts`: list, explain and acknowledge alerts.

use serde_json::{Value, json};
use uuid::Uuid;

use super::outcome::Failure;
use super::output;
use super::rows::{Listing, Order, Server, WAIT};
use super::when::{self, When};

const PATH: &str = "/api/v1/alerts";
/// Columns of the table.
const COLUMNS: [&str; 11] = [
    "id",
    "raised_at",
    "severity",
    "user_id",
    "device_id",
    "rule",
    "raised_value",
    "value",
    "state",
    "cleared_at",
    "acknowledged",
];

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
    /// List only alerts of this device
    #[arg(long, value_name = "DEVICE")]
    device_id: Option<String>,
    /// List only alerts in this state: `active` or `cleared`
    #[arg(long)]
    state: Option<String>,
    /// List only alerts of this severity: `critical`, `major`, `minor`, `warning` or `info`
    #[arg(long)]
    severity: Option<String>,
    /// List only alerts that are acknowledged (`true`) or not (`false`)
    #[arg(long, value_name = "BOOLEAN")]
    acknowledged: Option<bool>,
    /// List only alerts that were raised at TIME or later, such as `yesterday`
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// List only alerts that were raised before TIME
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    #[command(flatten)]
    order: Order,
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
        Command::List(list) => {
            let parameters = [
                ("user_id", list.user_id),
                ("device_id", list.device_id),
                ("state", list.state),
                ("severity", list.severity),
                ("acknowledged", list.acknowledged.map(|given| given.to_string())),
                ("from", when::parameter(list.from)),
                ("to", when::parameter(list.to)),
                ("order", Some(list.order.parameter().to_owned())),
            ];
            list.listing.show(PATH, &parameters, &COLUMNS).await
        }
        Command::Explain(One { id, server }) => {
            let path = format!("{PATH}/{id}/explanation");
            output::json(&server.connect().await?.get(&path).send::<Value>().await?.body)
        }
        Command::Acknowledge(One { id, server }) => {
            let path = format!("{PATH}/{id}/acknowledge");
            let client = server.connect().await?;
            client.post(&path).json(&json!({})).wait(WAIT).send::<Value>().await?;
            Ok(())
        }
    }
}
