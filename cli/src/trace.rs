//! `tributary trace`: the causation tree of an event, or of whatever an id names.

use client::segment;
use serde_json::Value;

use super::outcome::Failure;
use super::output::{self, OutputFormat};
use super::rows::{self, Common, items};

/// Columns of the table as CSV.
const COLUMNS: [&str; 7] =
    ["position", "recorded_at", "type", "stream_id", "actor", "caused_by", "depth"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A position, the id of an event, a trace id, the id of a work, order, product, project, task,
    /// alert or user, a stream, or a device as USER/DEVICE
    #[arg(id = "position", value_name = "ID")]
    id: String,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(Args { id, common }: Args) -> Result<(), Failure> {
    let tree: Value = common.get(&format!("/api/v1/traces/{}", segment(&id))).await?;
    let events = items(&tree, "events");
    match common.format.selected() {
        OutputFormat::Json => return output::json(&tree),
        OutputFormat::Csv => return rows::show_all(events, &COLUMNS, common.format),
        OutputFormat::Table => {}
    }
    for event in events {
        output::line(&line(event, &id))?;
    }
    Ok(())
}

/// Returns the line of an event, below its cause. An event that `id` names is marked.
fn line(event: &Value, id: &str) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or("-");
    let position = event["position"].as_i64().unwrap_or_default();
    let (stream, kind, actor) = (text("stream_id"), text("type"), text("actor"));
    let is_named = position.to_string() == id || text("id") == id || stream.ends_with(id);
    let mark = if is_named { "*" } else { " " };
    let depth = event["depth"].as_u64().and_then(|depth| usize::try_from(depth).ok());
    let indent = "  ".repeat(depth.unwrap_or_default());
    let time = text("recorded_at");
    format!("{mark}{position:>8}  {time}  {indent}{kind}  {stream}  by {actor}")
}
