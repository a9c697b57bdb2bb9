//! The limit on how far consumers fall behind what is taken in.

use clap::Args;
use serde::Serialize;

/// Readings and page views, over MQTT and HTTP.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Intake")]
pub struct Intake {
    /// Most events that a running consumer of the log, such as a projection or the relay, may be behind
    /// the log. Beyond it, no readings and page views are taken (503 over HTTP, waiting at the broker over
    /// MQTT) until it is within again; one that starts further behind may be as far behind as it is. At
    /// least the events of five seconds; 0 is no limit
    #[arg(long, env = "INTAKE_MAX_LAG", value_name = "EVENTS", default_value_t = 250_000)]
    pub intake_max_lag: u32,
}
