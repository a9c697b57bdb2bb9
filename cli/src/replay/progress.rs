//! How far a replay has come: a bar on a terminal, and a line at the end.

use std::time::Instant;

use eventsourcing::Position;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    after: Position,
    /// Everything wanted up to here has been told.
    position: Position,
    /// And has arrived.
    settled: Position,
    count: u64,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(after: Position, until: Position) -> Self {
        let bar = ProgressBar::new((until.0 - after.0).max(0).unsigned_abs());
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} positions, {msg} told {eta}");
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

    /// The event at `position` was told.
    pub(super) fn sent(&mut self, position: Position) {
        self.count += 1;
        self.pass(position);
    }

    /// There is nothing more to tell up to `position`.
    pub(super) fn pass(&mut self, position: Position) {
        self.position = position;
        self.bar.set_position((position.0 - self.after.0).max(0).unsigned_abs());
        self.bar.set_message(self.count.to_string());
    }

    /// Everything told has arrived.
    pub(super) fn settle(&mut self) {
        self.settled = self.position;
    }

    pub(super) fn finish(&self, well: bool) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.count as f64 / seconds.max(0.001);
        let word = if well { "told" } else { "broken off after" };
        output::note(&format!(
            "{word} {} events in {seconds:.1} s, {rate:.0}/s; go on with --from {}",
            self.count,
            self.settled.0 + 1
        ));
    }
}
