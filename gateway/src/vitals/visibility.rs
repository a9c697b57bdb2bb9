//! Measures the time from the append of an event until the projections that follow it have applied it.

use std::time::Duration;

use eventsourcing::Position;
use eventstore::{Filter, Latency, RawEvent};
use tokio::time::{sleep, timeout};

use super::monitor::Monitor;
use crate::parts::Parts;

/// Wait between two measurements.
const PAUSE: Duration = Duration::from_secs(1);
/// A measurement that takes longer is given up: the lag of the consumers shows what is late.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures one event a second at most, while a console is open, and records the times in `visible`. For
/// a process that runs the projections.
pub(super) async fn probe(parts: Parts, monitor: Monitor, visible: Latency) {
    let mut head = parts.feed.head();
    loop {
        sleep(PAUSE).await;
        if !monitor.is_watched() {
            continue;
        }
        head.mark_unchanged();
        if head.changed().await.is_err() {
            return; // Shutdown.
        }
        let position = *head.borrow();
        if let Ok(Some(took)) = timeout(PATIENCE, measure(&parts, position)).await {
            visible.record([took]);
        }
    }
}

/// Waits until the event at `position` is visible, and returns its age then; none if it cannot be read.
async fn measure(parts: &Parts, position: Position) -> Option<Duration> {
    let before = Position(position.0 - 1);
    let batch = parts.feed.subscribe(before, Filter::default()).next(1).await.ok()?;
    let event = batch.events.first()?;
    let following = projections::categories().into_iter().filter(|(_, categories)| {
        categories.is_empty() || categories.contains(&event.stream.category())
    });
    for mut checkpoint in following.filter_map(|(name, _)| parts.progress.of(name)) {
        checkpoint.wait_for(|applied| *applied >= position).await.ok()?;
    }
    age(parts, event).await
}

async fn age(parts: &Parts, event: &RawEvent) -> Option<Duration> {
    let now = parts.store.now().await.ok()?;
    Some((now - event.recorded_at).to_std().unwrap_or_default())
}
