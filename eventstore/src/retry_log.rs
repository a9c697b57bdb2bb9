//! Logs the failures of work that is retried for ever, so that it neither fails silently nor fills the
//! log.

/// The failures of one kind of work. Logs the first of an outage, and each with another cause, as a
/// warning, and the end of the outage with the number of failures.
#[derive(Debug)]
pub struct RetryLog {
    what: &'static str,
    cause: Option<String>,
    failures: u64,
}

impl RetryLog {
    /// A log of `what` is done again and again.
    pub fn new(what: &'static str) -> Self {
        Self { what, cause: None, failures: 0 }
    }

    /// Notes the outcome of an attempt; a failure is given by its text with all causes.
    pub fn note(&mut self, outcome: Result<(), String>) {
        let what = self.what;
        match outcome {
            Ok(()) => {
                let failures = std::mem::take(&mut self.failures);
                if self.cause.take().is_some() {
                    tracing::info!(what, failures, "work recovered");
                }
            }
            Err(error) => {
                self.failures += 1;
                if self.cause.as_ref() != Some(&error) {
                    tracing::warn!(what, error, "work failed, retrying");
                    self.cause = Some(error);
                }
            }
        }
    }
}
