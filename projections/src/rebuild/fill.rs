//! Fills the shadow schema from the log: while a batch is written, the next is projected, and the
//! one after it read.

use std::sync::Arc;

use eventsourcing::Position;
use eventsourcing::event::CodecError;
use eventstore::consume::{ConsumeError, Runner};
use eventstore::{EventStore, Filter, Page, RawEvent, Unavailable};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Step;
use crate::projection::{Projection, project};
use crate::projector::{Projector, key};

/// Most events of one batch. A page of the log also ends at [`eventstore::PAGE_BYTES`], which bounds
/// the five batches in memory: one each that is written, projected and read, and two that wait.
const BATCH_EVENTS: usize = 32_000;

/// A page of the log and what it changes.
struct Stretch<P: Projection> {
    events: Vec<RawEvent>,
    changes: Result<P::Changes, CodecError>,
    through: Position,
}

/// Applies every event up to `until`, a position known to be committed.
pub(super) async fn to<P: Projection>(
    store: &EventStore,
    runner: &mut Runner<'_, Projector<P>>,
    until: Position,
    step: &watch::Sender<Step>,
) -> Result<(), ConsumeError> {
    step.send_modify(|step| step.target = until.0);
    let (page, pages) = mpsc::channel(1);
    let (stretch, mut stretches) = mpsc::channel(1);
    // Both end with this function, however that ends; a panic in one of them is its error.
    let mut ahead = JoinSet::new();
    ahead.spawn(read(store.clone(), P::CATEGORIES, runner.position(), until, page));
    ahead.spawn(project_pages::<P>(pages, stretch));
    while let Some(stretch) = stretches.recv().await {
        let stretch = stretch?;
        let (count, through) = (stretch.events.len(), stretch.through);
        write(runner, stretch).await?;
        step.send_modify(|step| {
            step.position = through.0;
            step.events += count as u64;
        });
    }
    while let Some(ended) = ahead.join_next().await {
        ended.map_err(|error| ConsumeError::Panicked(error.to_string()))?;
    }
    Ok(())
}

/// Reads pages up to `until`. Ends with the first failure, or when the receiver is dropped.
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

/// Projects each page. Ends when either end of the pipeline does.
async fn project_pages<P: Projection>(
    mut pages: mpsc::Receiver<Result<Page, Unavailable>>,
    sender: mpsc::Sender<Result<Stretch<P>, Unavailable>>,
) {
    while let Some(page) = pages.recv().await {
        let stretch = page.map(|Page { events, through }| {
            let mut changes = P::Changes::default();
            let projected = events.iter().try_for_each(|raw| project::<P>(&mut changes, raw));
            Stretch { changes: projected.map(|()| changes), events, through }
        });
        if sender.send(stretch).await.is_err() {
            return;
        }
    }
}

/// Writes a stretch at once; if that fails because of an event, as the live projector would.
async fn write<P: Projection>(
    runner: &mut Runner<'_, Projector<P>>,
    stretch: Stretch<P>,
) -> Result<(), ConsumeError> {
    let Stretch { events, changes, through } = stretch;
    let parked = &runner.parked;
    // After several crashes here, `apply` goes event by event.
    let waits = runner.is_suspicious()
        || !parked.is_empty()
            && events.iter().any(|event| {
                parked.waits(&event.stream, event.position)
                    || parked.waits(&key::<P>(event), event.position)
                    || parked.skips(event.position)
            });
    if let (Ok(changes), false) = (changes, waits) {
        let last = events.last().map(|event| event.recorded_at);
        runner.consumer.changes = last.map(|_| changes);
        match runner.commit(last, through).await {
            Err(error) if error.refusal().is_some() => {}
            outcome => return outcome,
        }
    }
    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
    runner.apply(&events, through).await
}
