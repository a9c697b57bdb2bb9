//! Progress of rebuilds on stderr: a bar for each on a terminal, otherwise a line every three seconds.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use projections::{Phase, Step};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::super::output;

/// Interval between two updates of a bar.
const REDRAW: Duration = Duration::from_millis(200);
/// Interval between two lines without a terminal.
const LINE: Duration = Duration::from_secs(3);
const TEMPLATE: &str =
    "{prefix:12} {bar:30} {percent:>3}% {human_pos}/{human_len} {msg}, {eta} left";

/// The progress bars of concurrent rebuilds.
#[derive(Debug)]
pub(super) struct Progress {
    bars: MultiProgress,
    /// Whether stderr is a terminal.
    drawn: bool,
    /// Length of the longest name, in bytes.
    widest: usize,
}

impl Progress {
    pub(super) fn new(names: &[String]) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let widest = names.iter().map(String::len).max().unwrap_or_default();
        Self { drawn: !bars.is_hidden(), bars, widest }
    }

    /// Shows the steps of the rebuild `name` until their sender is dropped.
    pub(super) fn show(
        &self,
        name: &str,
        mut steps: watch::Receiver<Step>,
    ) -> impl Future<Output = ()> + use<> {
        let bar = ProgressBar::hidden();
        let (name, drawn, bars) = (name.to_owned(), self.drawn, self.bars.clone());
        bar.set_prefix(format!("{name:width$}", width = self.widest));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        async move {
            let mut ticks = interval(if drawn { REDRAW } else { LINE });
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await; // The first tick is immediate.
            let mut added = false;
            let mut before = 0;
            loop {
                let ended = tokio::select! {
                    _ = ticks.tick() => false,
                    () = closed(&mut steps) => true,
                };
                let step = *steps.borrow();
                if drawn && !added && step.phase != Phase::Waiting {
                    // Events of an interrupted rebuild that is resumed do not count for the rate.
                    bars.add(bar.clone()).set_position(position(step.from));
                    bar.reset_eta();
                    added = true;
                }
                bar.set_length(position(step.target.max(step.position)));
                bar.set_position(position(step.position));
                bar.set_message(format!("{} {:.0} events/s", phase(step), bar.per_sec()));
                if ended {
                    bar.finish();
                    return;
                }
                if !drawn && step.phase != Phase::Waiting {
                    let rate = (step.events - before) / LINE.as_secs();
                    before = step.events;
                    let (phase, Step { position, target, .. }) = (phase(step), step);
                    output::note(&format!("{name}: {phase} {position}/{target}, {rate} events/s"));
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

fn phase(step: Step) -> &'static str {
    match step.phase {
        Phase::Waiting => "waiting",
        Phase::Filling => "filling",
        Phase::Indexing => "indexing",
        Phase::Comparing => "comparing",
        Phase::Replacing => "replacing",
        Phase::Done => "done",
    }
}
