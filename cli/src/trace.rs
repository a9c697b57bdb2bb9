//! `tributary trace`: the causation tree that an event belongs to.

use serde_json::Value;

use super::outcome::Failure;
use super::output;
use super::rows::{Common, connect, items};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Position of the event in the log
    position: i64,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(Args { position: selected, common }: Args) -> Result<(), Failure> {
    let path = format!("/api/v1/events/{selected}/trace");
    let tree: Value = connect(&common.server)?.get(&path).send().await?.body;
    if common.json {
        return output::json(&tree);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    for event in items(&tree, "events") {
        let position = event["position"].as_i64().unwrap_or_default();
        let mark = if position == selected { "*" } else { " " };
        let depth = event["depth"].as_u64().and_then(|depth| usize::try_from(depth).ok());
        let indent = "  ".repeat(depth.unwrap_or_default());
        let (kind, stream) = (text(&event["type"]), text(&event["stream_id"]));
        let actor = text(&event["actor"]);
        output::line(&format!("{mark}{position:>8}  {indent}{kind}  {stream}  by {actor}"));
    }
    Ok(())
}
