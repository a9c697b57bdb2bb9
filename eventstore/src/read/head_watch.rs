//! Watches the head of the log for the process's feed and relay. This process's own commits and
//! Postgres say where the head is; a message on the NATS subject `log.head` is a wake-up, after which
//! Postgres is asked at once instead of at the next poll. Any NATS client may send one.

use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::bus::connection::{Bus, Heads};
use crate::error::{ErrorChain, Unavailable};
use crate::read::log_reader::LogReader;
use crate::tasks::Tasks;

/// Interval between polls: the longest delay after a lost notification.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// The head as Postgres or the appender of this process last reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadEstimate {
    pub(crate) head: Position,
    /// Number of queries that found the head before a position known to be committed: the log was
    /// restored from a backup.
    pub(crate) rewinds: u32,
}

/// Starts watching the head, for a task that knows the log to be committed up to `known`.
pub(crate) fn follow(
    reader: &LogReader,
    bus: Option<Bus>,
    known: watch::Receiver<Position>,
    tasks: &Tasks,
    shutdown: CancellationToken,
) -> watch::Receiver<HeadEstimate> {
    let (estimate, receiver) = watch::channel(HeadEstimate::default());
    let work = run(reader.clone(), bus, known, estimate);
    tasks.spawn("head watch", async move {
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
    // The highest head committed here since the query began, which its result may not include.
    let mut since = Position::START;
    let mut wake_up = WakeUp::default();
    let mut reachable = true;
    loop {
        if query.is_none() && wake_up.is_due(estimate.borrow().head) {
            wake_up.asked = wake_up.announced;
            since = Position::START;
            query = Some(query_head(reader.clone(), *known.borrow()));
        }
        tokio::select! {
            Ok(()) = committed.changed() => {
                let position = *committed.borrow_and_update();
                since = since.max(position);
                raise(&estimate, position);
            }
            announced = next(&mut heads) => match announced {
                Some(position) => wake_up.announced = wake_up.announced.max(position),
                None => heads = None,
            },
            _ = poll.tick(), if query.is_none() => {
                wake_up = WakeUp::default();
                since = Position::START;
                query = Some(query_head(reader.clone(), *known.borrow()));
            }
            (floor, result) = wait(&mut query) => {
                query = None;
                match result {
                    Ok(head) => {
                        wake_up.answered(head);
                        correct(&estimate, floor, head, since);
                        reachable = true;
                    }
                    Err(error) => {
                        wake_up.ignored = true;
                        if std::mem::take(&mut reachable) {
                            tracing::warn!(error = %ErrorChain(&error), "poll of the log's head failed, retrying");
                        }
                    }
                }
            }
        }
    }
}

/// The announcements since the last poll. An announcement follows the commit, so a query that began
/// after it and finds an earlier head shows that it was false: until the next poll, announcements are
/// ignored. So false ones cost one query of the head per poll, however many there are.
#[derive(Default)]
struct WakeUp {
    /// The highest head announced.
    announced: Position,
    /// The highest head announced before the query that is under way, if an announcement caused it.
    asked: Position,
    ignored: bool,
}

impl WakeUp {
    /// Returns whether the head is to be queried, because one beyond `head` was announced.
    fn is_due(&self, head: Position) -> bool {
        !self.ignored && self.announced > head
    }

    fn answered(&mut self, head: Position) {
        self.ignored |= head < self.asked;
    }
}

type HeadQuery = BoxFuture<'static, (Position, Result<Position, Unavailable>)>;

/// Queries the head. Everything up to `floor` is committed before.
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

/// Replaces the estimate by the queried head, except for commits of this process since the query
/// began.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_false_announcement_causes_one_query_per_poll() {
        let mut wake_up = WakeUp { announced: Position(9), ..WakeUp::default() };
        assert!(!wake_up.is_due(Position(9)), "the head is known");
        assert!(wake_up.is_due(Position(8)));
        wake_up.asked = wake_up.announced;
        wake_up.announced = Position(11); // While the query runs.
        wake_up.answered(Position(9));
        assert!(wake_up.is_due(Position(9)), "the query was not about this one");
        wake_up.asked = wake_up.announced;
        wake_up.answered(Position(9));
        wake_up.announced = Position(12);
        assert!(!wake_up.is_due(Position(9)), "ignored until the next poll");
    }
}
