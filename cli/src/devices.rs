//! `tributary devices`: list and show devices, and list their readings and refused messages.

use client::segment;

use super::outcome::Failure;
use super::rows::{Common, Listing, Order};
use super::when::{self, When};

/// Columns of a table of devices.
const COLUMNS: [&str; 8] = [
    "user_id",
    "device_id",
    "online",
    "last_seen_at",
    "readings",
    "time",
    "temperature",
    "battery",
];
/// Columns of a table of readings.
const READING: [&str; 5] = ["time", "sequence_id", "temperature", "battery", "extra_data"];
/// Columns of a table of refused messages.
const REJECTION: [&str; 5] = ["rejected_at", "topic", "reason", "size", "payload"];
/// Columns of a table of aggregated readings.
const BUCKET: [&str; 8] = ["time", "field", "count", "min", "max", "avg", "first", "last"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List devices, by user and device id
    List(List),
    /// Show a device
    Show(Show),
    /// List the readings of a device, newest first
    Readings(Readings),
    /// List refused messages, newest first: what was refused, when and why
    Rejections(Rejections),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List only devices of this user
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// List only devices that are online (`true`) or offline (`false`)
    #[arg(long, value_name = "BOOLEAN")]
    online: Option<bool>,
    /// List only devices that have been offline since TIME or longer, such as `2 hours ago`, last
    /// gone first: devices that said so, and silent ones
    #[arg(long, value_name = "TIME", alias = "silent-since")]
    offline_since: Option<When>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    device: Device,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Device {
    /// User that the device belongs to
    user_id: String,
    /// Device id
    device_id: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Readings {
    #[command(flatten)]
    device: Device,
    /// List only readings measured at TIME or later, such as `2 hours ago` or `2026-11-26T14:00:00Z`
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// List only readings measured before TIME
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// List only these fields, separated by commas
    #[arg(long)]
    fields: Option<String>,
    /// Aggregate readings into buckets of this width: 1m, 1h, 1d or a multiple
    #[arg(long, value_name = "WIDTH")]
    bucket: Option<String>,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rejections {
    /// User that the devices belong to; without it, all users
    user_id: Option<String>,
    /// Device id; without it, all devices of the user
    device_id: Option<String>,
    /// List only messages received at TIME or later (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// List only messages received before TIME (RFC 3339)
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { user_id, online, offline_since, listing }) => {
            let parameters = [
                ("user_id", user_id),
                ("online", online.map(|online| online.to_string())),
                ("offline_since", when::parameter(offline_since)),
            ];
            listing.show("/api/v1/devices", &parameters, &COLUMNS).await
        }
        Command::Show(Show { device, common }) => common.show(&path(&device), &COLUMNS).await,
        Command::Readings(Readings { device, from, to, fields, bucket, order, listing }) => {
            let columns = if bucket.is_some() { &BUCKET[..] } else { &READING[..] };
            let parameters = [
                ("from", when::parameter(from)),
                ("to", when::parameter(to)),
                ("fields", fields),
                ("bucket", bucket),
                ("order", Some(order.parameter().to_owned())),
            ];
            listing.show(&format!("{}/readings", path(&device)), &parameters, columns).await
        }
        Command::Rejections(Rejections { user_id, device_id, from, to, listing }) => {
            let (path, user_id) = match (user_id, device_id) {
                (Some(user_id), Some(device_id)) => {
                    (format!("{}/rejections", path(&Device { user_id, device_id })), None)
                }
                (user_id, _) => ("/api/v1/rejections".to_owned(), user_id),
            };
            let parameters = [("user_id", user_id), ("from", from), ("to", to)];
            listing.show(&path, &parameters, &REJECTION).await
        }
    }
}

fn path(Device { user_id, device_id }: &Device) -> String {
    format!("/api/v1/users/{}/devices/{}", segment(user_id), segment(device_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_of_the_path() {
        let path = |user_id: &str, device_id: &str| {
            path(&Device { user_id: user_id.into(), device_id: device_id.into() })
        };
        assert_eq!(path("ada", "d:1"), "/api/v1/users/ada/devices/d%3A1");
        assert_eq!(path("..", "a/b?c"), "/api/v1/users/%2E%2E/devices/a%2Fb%3Fc");
    }
}
