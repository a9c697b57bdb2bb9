//! The evaluation of alert rules: reading the log, keeping the state of each device, appending alerts;
//! and dry runs of rules on past readings.

mod rulebook;
mod watch_cache;
mod watcher;
mod dry_run;

pub use dry_run::{DryRun, DryRunLimits, DryRunResult, Fired, dry_run, explain_raised};
pub use watcher::Watcher;
