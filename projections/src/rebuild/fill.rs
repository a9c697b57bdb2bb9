//! Filling a model from the log: while a batch is written, the next is projected, and the one after
//! it read.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::{EventStore, Filter, Page, RawEvent, Unavailable};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Step;
use crate::projection::{ProjectError, Projection, project};
use crate::runner::{Failure, Interrupted, Runner};

/// Most events in one batch. A page of the log also ends at [`eventstore::PAGE_BYTES`], so that
/// the batches in hand (one each that is written, projected and read, and two that wait) have a
/// bound.
const BATCH_EVENTS: usize = 32_000;

/// A stretch of the log and what it comes to.
struct Stretch<P: Projection> {
    events: Vec<RawEvent>,
    changes: Result<P::Changes, ProjectError>,
    last: Option<DateTime<Utc>>,
    through: Position,
}

/// Brings `runner`'s model to `until`, a position known to be committed.
pub(super) async fn to<P: Projection>(
    store: &EventStore,
    runner: &mut Runner<P>,
    until: Position,
    step: &watch::Sender<Step>,
) -> Result<(), Interrupted> {
    step.send_modify(|step| step.target = until.0);
    let (page, pages) = mpsc::channel(1);
    let (stretch, mut stretches) = mpsc::channel(1);
    // Both end with this function, however that ends.
    let mut ahead = JoinSet::new();
    ahead.spawn(read(store.clone(), P::CATEGORIES, runner.position, until, page));
    ahead.spawn(understand::<P>(pages, stretch));
    while let Some(stretch) = stretches.recv().await {
        let stretch = stretch?;
        let (count, through) = (stretch.events.len(), stretch.through);
        write(runner, stretch).await?;
        step.send_modify(|step| {
            step.position = through.0;
            step.events += count as u64;
        });
    }
    Ok(())
}

/// Ends with the first failure, or when nobody waits for more.
async fn read(
    store: EventStore,
    categories: &'static [&'static str],
    after: Position,
    until: Position,
    sender: mpsc::Sender<Result<Page, Unavailable>>,
) {
    let filter = Filter::categories(categories);
    let mut position = after;
    while position < until {
        let page = store.read(position, until, &filter, BATCH_EVENTS).await;
        let failed = page.is_err();
        position = page.as_ref().map_or(position, |page| page.through);
        if sender.send(page).await.is_err() || failed {
            return;
        }
    }
}

async fn understand<P: Projection>(
    mut pages: mpsc::Receiver<Result<Page, Unavailable>>,
    sender: mpsc::Sender<Result<Stretch<P>, Unavailable>>,
) {
    while let Some(page) = pages.recv().await {
        let stretch = page.map(|page| Stretch {
            changes: project::<P>(&page.events),
            last: page.events.last().map(|event| event.recorded_at),
            events: page.events,
            through: page.through,
        });
        if sender.send(stretch).await.is_err() {
            return;
        }
    }
}

/// The whole stretch at once; where that does not go, as the live runner would.
async fn write<P: Projection>(
    runner: &mut Runner<P>,
    stretch: Stretch<P>,
) -> Result<(), Interrupted> {
    let Stretch { events, changes, last, through } = stretch;
    let waits = events
        .iter()
        .any(|event| runner.parked.contains(&event.stream) || runner.parked.skips(event.position));
    if let (Ok(changes), false) = (changes, waits) {
        match runner.write(changes, &[], last, through).await {
            Ok(()) => return Ok(()),
            Err(Failure::Interrupted(error)) => return Err(error),
            Err(Failure::Unreadable(_) | Failure::Refused(_)) => {}
        }
    }
    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
    runner.apply(&events, through).await
}
