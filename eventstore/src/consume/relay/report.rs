//! What a relay reports: to its process through a channel, to the operator through the log and
//! metrics.

use std::collections::HashSet;
use std::time::Duration;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio::time::Instant;

use super::interrupted::Interrupted;
use crate::error::ErrorChain;

/// The same error is logged again after so long.
const LOG_EVERY: Duration = Duration::from_mins(1);
/// How long foreign messages are reported after the last one.
const WARN_FOR: Duration = Duration::from_mins(10);

/// The state of a relay, besides its position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayReport {
    /// Why nothing is published; none while the relay publishes what the log holds.
    pub error: Option<String>,
    /// What an operator should know although the relay publishes.
    pub warning: Option<String>,
}

/// Keeps the report up to date, and logs what changes.
pub(super) struct Reporter {
    sender: watch::Sender<Option<RelayReport>>,
    /// Begin of the outage, if nothing is published.
    failing: Option<Instant>,
    /// The errors logged since the last reminder, and its time.
    logged: (HashSet<String>, Instant),
    /// Foreign messages found so far, and when the last ones were found and logged.
    foreign: u64,
    found: Option<Instant>,
    warned: Option<Instant>,
    /// Settings of the stream that the server did not accept.
    differing: Vec<String>,
}

impl Reporter {
    pub(super) fn new(sender: watch::Sender<Option<RelayReport>>) -> Self {
        Self {
            sender,
            failing: None,
            logged: (HashSet::new(), Instant::now()),
            foreign: 0,
            found: None,
            warned: None,
            differing: Vec::new(),
        }
    }

    /// Reports why nothing is published after `position`. Logs each error once a minute.
    pub(super) fn failed(&mut self, why: &Interrupted, position: Position) {
        metrics::counter!("tributary_relay_errors_total").increment(1);
        let error = ErrorChain(why).to_string();
        let since = *self.failing.get_or_insert_with(Instant::now);
        if self.logged.1.elapsed() > LOG_EVERY {
            self.logged = (HashSet::new(), Instant::now());
        }
        if self.logged.0.insert(error.clone()) {
            let seconds = since.elapsed().as_secs();
            tracing::error!(%position, seconds, error, "relay publishes nothing, retrying");
        }
        self.send(Some(error));
    }

    /// Reports that the relay publishes: events were acknowledged, or there are none to publish.
    pub(super) fn works(&mut self, position: Position) {
        if let Some(since) = self.failing.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(%position, seconds, "relay publishes again");
            self.logged.0.clear();
        }
        if self.found.is_some_and(|found| found.elapsed() > WARN_FOR) {
            (self.found, self.foreign) = (None, 0);
        }
        self.send(None);
    }

    /// Reports that another relay publishes, which reports for both.
    pub(super) fn stands_by(&mut self) {
        self.failing = None;
        self.sender.send_if_modified(|report| report.take().is_some());
    }

    /// Reports `foreign` more messages of other programs, up to `sequence`, which are skipped.
    pub(super) fn skipped(&mut self, foreign: u64, sequence: u64) {
        if foreign == 0 {
            return;
        }
        metrics::counter!("tributary_relay_foreign_total").increment(foreign);
        self.foreign += foreign;
        self.found = Some(Instant::now());
        if self.warned.is_none_or(|warned| warned.elapsed() > LOG_EVERY) {
            self.warned = self.found;
            tracing::warn!(
                foreign = self.foreign,
                sequence,
                "stream EVENTS holds messages that are not events of the log; skipped. Another \
                 program may publish to events.>, or the log was restored without --after-restore"
            );
        }
    }

    /// Reports settings of the stream that the server did not accept.
    pub(super) fn differs(&mut self, differing: Vec<String>) {
        if !differing.is_empty() && differing != self.differing {
            let settings = differing.join("; ");
            tracing::warn!(settings, "stream EVENTS is not configured as requested");
        }
        self.differing = differing;
    }

    fn send(&self, error: Option<String>) {
        let foreign = self.found.map(|_| {
            format!(
                "skipped {} messages of other programs in stream EVENTS; check who may publish to \
                 events.>",
                self.foreign
            )
        });
        let differing = (!self.differing.is_empty())
            .then(|| format!("stream EVENTS: {}", self.differing.join("; ")));
        let warnings: Vec<_> = [foreign, differing].into_iter().flatten().collect();
        let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
        let report = Some(RelayReport { error, warning });
        self.sender.send_if_modified(|sent| {
            let modified = *sent != report;
            *sent = report;
            modified
        });
    }
}
