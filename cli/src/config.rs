//! `tributary config`: the effective configuration. The types of secrets redact them.

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::outcome::Failure;
use super::output;
use gateway::config::ProcessRole;
use gateway::config::{Config, Log, SecretFiles, Traces};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: Config,
}

#[derive(Serialize)]
struct Effective<'a> {
    #[serde(flatten)]
    config: &'a Config,
    log: &'a Log,
    traces: &'a Traces,
    /// Variables of secrets that are read from files, and these files.
    secret_files: &'a SecretFiles,
}

pub(super) fn run(
    args: &Args,
    log: &Log,
    traces: &Traces,
    secret_files: &SecretFiles,
) -> Result<(), Failure> {
    let config = &args.config;
    let effective = Effective { config, log, traces, secret_files };
    let printed = if args.json { output::json(&effective) } else { print(&effective) };
    let verdict = match config.mistakes(&ProcessRole::ALL) {
        mistakes if mistakes.is_empty() => Ok(()),
        mistakes => Err(Failure::usage(mistakes)),
    };
    output::conclude(printed, verdict)
}

fn print(effective: &Effective<'_>) -> Result<(), Failure> {
    let value = serde_json::to_value(effective).context("cannot print the configuration")?;
    for (group, options) in value.as_object().into_iter().flatten() {
        output::line(&format!("[{group}]"))?;
        for (name, value) in options.as_object().into_iter().flatten() {
            output::line(&format!("{name} = {}", shown(value)))?;
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
