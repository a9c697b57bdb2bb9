//! `tributary trace`: the tree of causes and effects an event belongs to.

use super::client::Client;
use super::outcome::Failure;
use super::output;
use gateway::config::Server;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Position of the event
    position: i64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let path = format!("/api/v1/events/{}/trace", args.position);
    let trace = Client::new(args.server)?.get(&path, &()).await?;
    if args.json {
        return output::json(&trace);
    }
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    for event in trace["events"].as_array().into_iter().flatten() {
        let position = event["position"].as_i64().unwrap_or_default();
        let mark = if position == args.position { "*" } else { " " };
        let depth = event["depth"].as_u64().and_then(|depth| usize::try_from(depth).ok());
        let indent = "  ".repeat(depth.unwrap_or_default());
        let (what, stream) = (text(&event["type"]), text(&event["stream_id"]));
        output::line(&format!(
            "{mark}{position:>8}  {indent}{what}  {stream}  by {}",
            text(&event["actor"])
        ));
    }
    Ok(())
}
