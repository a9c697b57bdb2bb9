//! Progress of a replay: a bar on a terminal, and a summary at the end.

use std::time::Instant;

use eventsourcing::Position;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// Positions and counts of a replay.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    after: Position,
    /// Every selected event up to here has been sent.
    position: Position,
    /// Every selected event up to here is known to have arrived.
    settled: Position,
    /// Events sent.
    count: u64,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(after: Position, until: Position) -> Self {
        let bar = ProgressBar::new((until.0 - after.0).max(0).unsigned_abs());
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} positions, {msg} events {eta}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { begun: Instant::now(), after, position: after, settled: after, count: 0, bar }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn settled(&self) -> Position {
        self.settled
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Records that the event at `position` was sent.
    pub(super) fn sent(&mut self, position: Position) {
        self.count += 1;
        self.pass(position);
    }

    /// Records that no further event up to `position` is selected.
    pub(super) fn pass(&mut self, position: Position) {
        self.position = position;
        self.bar.set_position((position.0 - self.after.0).max(0).unsigned_abs());
        self.bar.set_message(self.count.to_string());
    }

    /// Records that all events sent have arrived.
    pub(super) fn settle(&mut self) {
        self.settled = self.position;
    }

    /// Prints the summary.
    pub(super) fn finish(&self, complete: bool) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.count as f64 / seconds.max(0.001);
        let word = if complete { "replayed" } else { "failed after" };
        output::note(&format!(
            "{word} {} events in {seconds:.1} s, {rate:.0}/s; continue with --from {}",
            self.count,
            self.settled.0 + 1
        ));
    }
}
