//! `tributary devices`: look at devices and what they measured.

use serde_json::Value;

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// What a table shows of a device.
const COLUMNS: [&str; 7] =
    ["user_id", "device_id", "online", "readings", "time", "temperature", "battery"];
/// What a table shows of a reading.
const READING: [&str; 5] = ["time", "sequence_id", "temperature", "battery", "extra_data"];
/// What a table shows of readings added up.
const BUCKET: [&str; 8] = ["time", "field", "count", "min", "max", "avg", "first", "last"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List devices, by user and name
    List(List),
    /// Show one device
    Show(Show),
    /// List the readings of a device, newest first
    Readings(Readings),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
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
pub(super) struct Show {
    /// Whose it is
    user_id: String,
    /// Its name
    device_id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Readings {
    /// Whose device it is
    user_id: String,
    /// Its name
    device_id: String,
    /// Measured then or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Measured before then (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only these fields, separated by commas
    #[arg(long)]
    fields: Option<String>,
    /// Add up by stretches of this width: 1m, 1h, 1d or a multiple
    #[arg(long, value_name = "WIDTH")]
    bucket: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let query = [("user_id", args.user_id), ("limit", Some(args.limit.to_string()))];
            let page = Client::new(args.server)?.list("/api/v1/devices", &query).await?;
            rows::show(&page, &COLUMNS, args.json)
        }
        Command::Show(args) => {
            let path = path(&args.user_id, &args.device_id);
            let device = Client::new(args.server)?.get(&path, &()).await?;
            show_one(device, args.json)
        }
        Command::Readings(args) => readings(args).await,
    }
}

async fn readings(args: Readings) -> Result<(), Failure> {
    let columns = if args.bucket.is_some() { &BUCKET[..] } else { &READING[..] };
    let path = format!("{}/readings", path(&args.user_id, &args.device_id));
    let query = [
        ("from", args.from),
        ("to", args.to),
        ("fields", args.fields),
        ("bucket", args.bucket),
        ("order", Some("desc".to_owned())),
        ("limit", Some(args.limit.to_string())),
    ];
    let page = Client::new(args.server)?.list(&path, &query).await?;
    rows::show(&page, columns, args.json)
}

fn show_one(device: Value, json: bool) -> Result<(), Failure> {
    if json { output::json(&device) } else { rows::show(&[device], &COLUMNS, false) }
}

/// Ids are given by people, who may give anything.
fn path(user_id: &str, device_id: &str) -> String {
    let encoded =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    format!("/api/v1/users/{}/devices/{}", encoded(user_id), encoded(device_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leads_elsewhere() {
        assert_eq!(path("ada", "d:1"), "/api/v1/users/ada/devices/d%3A1");
        assert_eq!(path("..", "a/b?c"), "/api/v1/users/%2E%2E/devices/a%2Fb%3Fc");
    }
}
