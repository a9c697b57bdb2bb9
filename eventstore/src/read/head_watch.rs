//! Watches the head of the log for the process's feed and relay. Three sources notify of a new
//! head: this process's own commits, the NATS subject `log.head`, and a poll of Postgres.

use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::connection::{Bus, Heads};
use crate::error::{ErrorChain, Unavailable};
use crate::read::log_reader::LogReader;

/// Interval between polls: the longest delay after a lost notification.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// The head as last notified or polled. May be wrong until the next poll, since any NATS client can
/// publish to `log.head`; reading the log shows the truth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadEstimate {
    pub(crate) head: Position,
    /// Number of polls that found the head before a position known to be committed: the log was
    /// restored from a backup.
    pub(crate) rewinds: u32,
}

/// Starts watching the head, for a task that knows the log to be committed up to `known`.
pub(crate) fn follow(
    reader: &LogReader,
    bus: Option<Bus>,
    known: watch::Receiver<Position>,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> watch::Receiver<HeadEstimate> {
    let (estimate, receiver) = watch::channel(HeadEstimate::default());
    let work = run(reader.clone(), bus, known, estimate);
    tasks.spawn(async move {
        shutdown.run_until_cancelled(work).await;
    });
    receiver
}

async fn run(
    reader: LogReader,
    bus: Option<Bus>,
    known: watch::Receiver<Position>,
    estimate: watch::Sender<HeadEstimate>,
) {
    let mut committed = reader.committed();
    let mut heads = match bus {
        Some(bus) => bus.heads().await.ok(),
        None => None,
    };
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Runs concurrently: a database that does not answer must not delay a notification.
    let mut query: Option<HeadQuery> = None;
    // The highest head notified since the query began, which its result may not include.
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
                // Everything up to here is committed before the query begins.
                let floor = *known.borrow();
                since = Position::START;
                query = Some(query_head(reader.clone(), floor));
            }
            (floor, result) = wait(&mut query) => {
                query = None;
                match result {
                    Ok(head) => {
                        correct(&estimate, floor, head, since);
                        reachable = true;
                    }
                    Err(error) => {
                        if std::mem::take(&mut reachable) {
                            tracing::warn!(error = %ErrorChain(&error), "poll of the log's head failed, retrying");
                        }
                    }
                }
            }
        }
    }
}

type HeadQuery = BoxFuture<'static, (Position, Result<Position, Unavailable>)>;

fn query_head(reader: LogReader, floor: Position) -> HeadQuery {
    async move { (floor, reader.head().await) }.boxed()
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

/// Replaces the estimate by the polled head, except for notifications since the poll began.
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
