//! The limit on how far consumers fall behind what is taken in.

use clap::Args;
use serde::Serialize;

/// Readings and page views, over MQTT and HTTP.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Intake")]
pub struct Intake {
    /// Most events that a running consumer of the log, such as a projection or the relay, may be behind
    /// the log: if it is behind further, no readings and page views are taken (503 over HTTP, waiting at
    /// the broker over MQTT) until it gains; 0 is no limit
    #[arg(long, env = "INTAKE_MAX_LAG", value_name = "EVENTS", default_value_t = 250_000)]
    pub intake_max_lag: u32,
}
