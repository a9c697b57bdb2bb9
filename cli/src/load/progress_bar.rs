//! The progress bar, on a terminal.

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use loadtest::Progress;

const TEMPLATE: &str = "{elapsed_precise} {wide_bar} {msg}";

/// A progress bar. Removed from the terminal when dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        let Progress { total, due, sent, acknowledged, rate } = progress;
        self.0.set_length(total);
        self.0.set_position(acknowledged);
        self.0.set_message(format!(
            "sent {}  acknowledged {}  {}/s  {} behind",
            HumanCount(sent),
            HumanCount(acknowledged),
            HumanCount(rate),
            HumanCount(due.saturating_sub(acknowledged)),
        ));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
