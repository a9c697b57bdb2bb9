//! How far the log is said to reach: the wake-up of everybody who follows it. Three voices behind
//! each other: this process's own commits, `log.head` from the others, and a poll.

use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::{Bus, Heads};
use crate::{EventStore, Unavailable};

/// How often the log is asked: what a lost wake-up can cost.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// What is said of the log's head. A hint: on the bus anybody may say anything. Whoever reads finds
/// out; the poll corrects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadEstimate {
    pub(crate) head: Position,
    /// How often the log was found to end before what was known to be committed: it was restored.
    pub(crate) rewinds: u32,
}

/// Follows the head for a reader that knows the log to be committed up to `known`.
pub(crate) fn follow(
    store: EventStore,
    bus: Option<Bus>,
    known: watch::Receiver<Position>,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> watch::Receiver<HeadEstimate> {
    let (estimate, receiver) = watch::channel(HeadEstimate::default());
    tasks.spawn(async move {
        let work = run(store, bus, known, estimate);
        shutdown.run_until_cancelled(work).await;
    });
    receiver
}

async fn run(
    store: EventStore,
    bus: Option<Bus>,
    known: watch::Receiver<Position>,
    estimate: watch::Sender<HeadEstimate>,
) {
    let mut committed = store.committed();
    let mut heads = match bus {
        Some(bus) => bus.heads().await.ok(),
        None => None,
    };
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Asked beside the rest: a database that does not answer must not hold up a wake-up.
    let mut query: Option<HeadQuery> = None;
    // The highest estimate since then: the answer may be older.
    let mut since = Position::START;
    let mut reachable = true;
    loop {
        tokio::select! {
            Ok(()) = committed.changed() => {
                let position = *committed.borrow_and_update();
                since = since.max(position);
                raise(&estimate, position);
            }
            announced = next(&mut heads) => match announced {
                Some(position) => {
                    since = since.max(position);
                    raise(&estimate, position);
                }
                None => heads = None,
            },
            _ = poll.tick(), if query.is_none() => {
                // All of this is committed before the question is asked.
                let floor = *known.borrow();
                since = Position::START;
                query = Some(query_head(store.clone(), floor));
            }
            (floor, answer) = wait(&mut query) => {
                query = None;
                match answer {
                    Ok(head) => {
                        correct(&estimate, floor, head, since);
                        reachable = true;
                    }
                    Err(error) => {
                        if std::mem::take(&mut reachable) {
                            tracing::warn!(error = &error as &dyn std::error::Error, "following the log");
                        }
                    }
                }
            }
        }
    }
}

type HeadQuery = BoxFuture<'static, (Position, Result<Position, Unavailable>)>;

fn query_head(store: EventStore, floor: Position) -> HeadQuery {
    async move { (floor, store.head().await) }.boxed()
}

async fn wait(query: &mut Option<HeadQuery>) -> (Position, Result<Position, Unavailable>) {
    match query {
        Some(query) => query.await,
        None => std::future::pending().await,
    }
}

async fn next(heads: &mut Option<Heads>) -> Option<Position> {
    match heads {
        Some(heads) => heads.next().await,
        None => std::future::pending().await,
    }
}

fn raise(estimate: &watch::Sender<HeadEstimate>, position: Position) {
    estimate.send_if_modified(|estimate| {
        let higher = position > estimate.head;
        estimate.head = estimate.head.max(position);
        higher
    });
}

/// The log has spoken: whatever was estimate before it was asked is replaced.
fn correct(
    estimate: &watch::Sender<HeadEstimate>,
    floor: Position,
    head: Position,
    since: Position,
) {
    estimate.send_if_modified(|estimate| {
        let before = *estimate;
        estimate.head = head.max(since);
        if head < floor {
            estimate.rewinds += 1;
        }
        *estimate != before
    });
}
