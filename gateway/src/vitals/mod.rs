//! Vitals: rates, latencies and lag, as the console shows them.
//!
//! One task gathers them for all consoles that are open, once a second, and the lag of the last hour
//! every ten seconds, open consoles or not. A console that takes long to read gets fewer of them:
//! only the latest are kept.

mod door;
mod sample;
mod history;
mod monitor;
mod consumers;
mod traffic;
mod visibility;
mod gather;

use eventstore::Latency;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;
use gather::Gatherer;

pub use history::{History, LagSample};
pub use monitor::Monitor;
pub(crate) use monitor::Subscription;
pub use sample::Vitals;

/// Starts to gather vitals on the tasks of `parts`, until `shutdown`.
pub fn start(parts: &Parts, shutdown: &CancellationToken) -> Monitor {
    let (monitor, visible) = (Monitor::default(), Latency::default());
    let gatherer = Gatherer::new(parts.clone(), monitor.clone(), visible.clone());
    let gathering = shutdown.clone().run_until_cancelled_owned(gatherer.run());
    parts.tasks.spawn("vitals", gathering);
    if parts.runs_projector() {
        let probing = visibility::probe(parts.clone(), monitor.clone(), visible);
        let probing = shutdown.clone().run_until_cancelled_owned(probing);
        parts.tasks.spawn("visibility probe", probing);
    }
    monitor
}
