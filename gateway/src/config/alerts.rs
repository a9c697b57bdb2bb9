//! Options of alerts: the bounds of dry runs.

use clap::Args;
use commands::alerts::DryRunLimits;
use serde::Serialize;

/// Alerts.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Alerts")]
pub struct Alerts {
    /// Most readings that one dry run of rules evaluates, 1 to 1000000
    #[arg(long, env = "DRY_RUN_READINGS", value_name = "COUNT", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub dry_run_readings: u32,
    /// Most alert events that one dry run of rules returns, 1 to 100000
    #[arg(long, env = "DRY_RUN_ALERTS", value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub dry_run_alerts: u32,
    /// Most dry runs of rules at a time, 1 to 64; further ones are answered with 503
    #[arg(long, env = "DRY_RUNS", value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub dry_runs: u16,
}

impl Alerts {
    /// Returns the bounds of one dry run.
    pub fn limits(&self) -> DryRunLimits {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        DryRunLimits { readings: count(self.dry_run_readings), alerts: count(self.dry_run_alerts) }
    }
}
