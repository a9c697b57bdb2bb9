//! `tributary page-views`: numbers of page views and sessions.

use super::outcome::Failure;
use super::rows::{Listing, Order};
use super::when::{self, When};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Summarize page views and unique sessions by page, and by bucket of time
    Stats(Stats),
}

#[derive(Debug, clap::Args)]
pub(super) struct Stats {
    /// Count only views of this page
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Count only views at TIME or later, such as `yesterday`; without it, of the last day
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Count only views before TIME
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Count views in buckets of this width: 1m, 1h, 1d or a multiple
    #[arg(long, value_name = "WIDTH")]
    bucket: Option<String>,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Stats(stats) = command;
    let columns = match stats.bucket {
        Some(_) => &["time", "path", "views", "unique_sessions"][..],
        None => &["path", "views", "unique_sessions"],
    };
    let parameters = [
        ("path", stats.path),
        ("from", when::parameter(stats.from)),
        ("to", when::parameter(stats.to)),
        ("bucket", stats.bucket),
        ("order", Some(stats.order.parameter().to_owned())),
    ];
    stats.listing.show("/api/v1/page-views/stats", &parameters, columns).await
}
