//! Alerts around their fold: reading the log for it, remembering what it knows, and writing down
//! what follows; and trying rules out on the past.

mod rulebook;
mod watch_cache;
mod watcher;
mod dry_run;

pub use dry_run::{DryRun, DryRunResult, Fired, dry_run, explain_raised};
pub use watcher::Watcher;
