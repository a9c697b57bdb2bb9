//! Waiting for a condition, and sizes of tests from the environment.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for any expected state.
pub const DEADLINE: Duration = Duration::from_mins(3);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `check` returns true. An error names `what` and the time that was waited.
pub async fn eventually(what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    let polling = async {
        while !check().await? {
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    timeout(DEADLINE, polling)
        .await
        .with_context(|| format!("{what}: not within {:?}", started.elapsed()))?
}

/// Returns the number in the environment variable `variable`, or `default` if it is not set.
pub fn from_environment<N: FromStr>(variable: &str, default: N) -> Result<N> {
    let Some(text) = std::env::var_os(variable) else {
        return Ok(default);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.with_context(|| format!("{variable} is not a number"))
}
