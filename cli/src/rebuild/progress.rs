//! How far rebuilds have come, for the person who waits: a bar each on a terminal, else a line now
//! and then.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use projections::{Phase, Step};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::super::output;

/// Between two looks for a bar.
const REDRAW: Duration = Duration::from_millis(200);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(3);
const TEMPLATE: &str =
    "{prefix:12} {bar:30} {percent:>3}% {human_pos}/{human_len} {msg}, {eta} left";

/// A place on stderr for the bars of several rebuilds.
#[derive(Debug)]
pub(super) struct Progress {
    together: MultiProgress,
    /// On a terminal.
    drawn: bool,
    widest: usize,
}

impl Progress {
    pub(super) fn new(names: &[String]) -> Self {
        let together = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let widest = names.iter().map(String::len).max().unwrap_or_default();
        Self { drawn: !together.is_hidden(), together, widest }
    }

    /// Shows `steps` until their sender is gone.
    pub(super) fn show(
        &self,
        name: &str,
        mut steps: watch::Receiver<Step>,
    ) -> impl Future<Output = ()> + use<> {
        let bar = ProgressBar::hidden();
        let (name, drawn, together) = (name.to_owned(), self.drawn, self.together.clone());
        bar.set_prefix(format!("{name:width$}", width = self.widest));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        async move {
            let mut ticks = interval(if drawn { REDRAW } else { LINE });
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await; // The first comes at once.
            let mut added = false;
            let mut before = 0;
            loop {
                let ended = tokio::select! {
                    _ = ticks.tick() => false,
                    () = closed(&mut steps) => true,
                };
                let step = *steps.borrow();
                if drawn && !added && step.phase != Phase::Waiting {
                    // What an earlier rebuild did is not part of this one's rate.
                    together.add(bar.clone()).set_position(position(step.from));
                    bar.reset_eta();
                    added = true;
                }
                bar.set_length(position(step.target.max(step.position)));
                bar.set_position(position(step.position));
                bar.set_message(format!("{} {:.0} events/s", doing(step), bar.per_sec()));
                if ended {
                    bar.finish();
                    return;
                }
                if !drawn && step.phase != Phase::Waiting {
                    let rate = (step.events - before) / LINE.as_secs();
                    before = step.events;
                    let (doing, Step { position, target, .. }) = (doing(step), step);
                    output::note(&format!("{name}: {doing} {position}/{target}, {rate} events/s"));
                }
            }
        }
    }
}

async fn closed(steps: &mut watch::Receiver<Step>) {
    while steps.changed().await.is_ok() {}
}

fn position(position: i64) -> u64 {
    position.unsigned_abs()
}

fn doing(step: Step) -> &'static str {
    match step.phase {
        Phase::Waiting => "waits",
        Phase::Filling => "filling",
        Phase::Indexing => "indexing",
        Phase::Comparing => "comparing",
        Phase::Replacing => "replacing",
        Phase::Done => "done",
    }
}
