//! `tributary mqtt`: what the bridge makes of messages.

use std::io::Read;

use anyhow::Context;
use chrono::Utc;

use super::outcome::Failure;
use super::output;
use gateway::bridge::{Decoder, Delivery, Explanation, explain};
use gateway::config::{Readings, TopicMappings};

/// Bytes read from stdin for a payload, at most: more than the largest accepted one has.
const MAX_STDIN_BYTES: u64 = 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what would become of a message and why, without a broker and without the database; exits
    /// with 1 if the bridge would reject it
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// Topic of the message
    topic: String,
    /// Payload of the message; `-` reads stdin
    #[arg(allow_hyphen_values = true)]
    payload: String,
    /// As a message that the broker kept and sends because the bridge subscribes
    #[arg(long)]
    retained: bool,
    /// As a message that the broker delivers again
    #[arg(long)]
    redelivered: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mappings: TopicMappings,
    #[command(flatten)]
    readings: Readings,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Explain(args) => explain_message(args),
    }
}

fn explain_message(args: Explain) -> Result<(), Failure> {
    let payload = match args.payload.as_str() {
        "-" => {
            let mut payload = Vec::new();
            let stdin = std::io::stdin().lock();
            stdin
                .take(MAX_STDIN_BYTES)
                .read_to_end(&mut payload)
                .context("cannot read the payload from stdin")?;
            payload
        }
        text => text.as_bytes().to_vec(),
    };
    let mappings = args.mappings.mqtt_topic_mappings;
    let decoder = Decoder { limits: args.readings.limits(), mappings };
    let delivery = Delivery {
        retained: args.retained,
        redelivered: args.redelivered,
        packet_id: Delivery::default().packet_id,
    };
    let explained = explain(&decoder, &args.topic, &payload, delivery, Utc::now());
    if args.json {
        output::json(&explained)?;
    } else {
        print(&explained)?;
    }
    if explained.outcome == "rejected" {
        let reason = format!("the message would be rejected: {}", explained.reason);
        return Err(anyhow::anyhow!(reason).into());
    }
    Ok(())
}

fn print(explained: &Explanation) -> Result<(), Failure> {
    let filter = match (explained.filter.as_str(), explained.mapped) {
        ("", _) => "none; the bridge does not receive messages on this topic".to_owned(),
        (filter, true) => format!("{filter} (topic mapping)"),
        (filter, false) => filter.to_owned(),
    };
    let data = explained.data.as_ref().map(ToString::to_string).unwrap_or_default();
    for (name, text) in [
        ("outcome", explained.outcome),
        ("reason", explained.reason.as_str()),
        ("filter", filter.as_str()),
        ("stream", explained.stream.as_str()),
        ("event", explained.event_type.as_str()),
        ("data", data.as_str()),
        ("identity", explained.identity),
    ] {
        if !text.is_empty() {
            output::line(&format!("{name:<9} {text}"))?;
        }
    }
    for note in &explained.notes {
        output::line(&format!("{:<9} {note}", "note"))?;
    }
    Ok(())
}
