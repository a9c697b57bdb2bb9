//! Whether a process's appends succeed, for its readiness.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::error::{ErrorChain, Unavailable};

/// The outcome of the last batches of an appender. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppendHealth(Arc<Mutex<LastAppends>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct LastAppends {
    /// When the last batch was committed, by the clock of the log.
    pub(crate) committed_at: Option<DateTime<Utc>>,
    /// Why the last batch was not committed; none if it was.
    pub(crate) failure: Option<Unavailable>,
}

impl AppendHealth {
    pub(crate) fn last(&self) -> LastAppends {
        self.state().clone()
    }

    /// Why appends fail at present.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.last().failure?;
        Some(format!("appends fail: {}", ErrorChain(&failure)))
    }

    /// Records that Postgres answered, and when a batch was committed, if one was.
    pub(crate) fn succeeded(&self, committed_at: Option<DateTime<Utc>>) {
        let mut state = self.state();
        state.failure = None;
        state.committed_at = committed_at.or(state.committed_at);
    }

    pub(crate) fn failed(&self, failure: Unavailable) {
        self.state().failure = Some(failure);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, LastAppends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
