//! Checkpoints of this process's projections, for those that wait for them.

use std::collections::HashMap;
use std::sync::Arc;

use eventsourcing::Position;
use tokio::sync::watch;

/// The checkpoints of the projections that run in this process: a wake-up for those that wait.
/// Projections may run elsewhere; the truth is in `log.checkpoint`.
#[derive(Debug, Clone)]
pub struct Progress(Arc<HashMap<&'static str, watch::Sender<Position>>>);

impl Default for Progress {
    fn default() -> Self {
        let names = crate::names().into_iter();
        Self(Arc::new(names.map(|name| (name, watch::Sender::default())).collect()))
    }
}

impl Progress {
    /// Follows the projection of this name; none if there is no such projection.
    pub fn of(&self, projection: &str) -> Option<watch::Receiver<Position>> {
        self.0.get(projection).map(watch::Sender::subscribe)
    }

    /// Where the projection of this name announces its checkpoint.
    pub(crate) fn sender(&self, projection: &str) -> watch::Sender<Position> {
        self.0.get(projection).cloned().unwrap_or_default()
    }
}
