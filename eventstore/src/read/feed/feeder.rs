//! The task that fills a feed's ring buffer, from JetStream or from Postgres.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::jetstream_consumer::{JetStreamConsumer, JoinError};
use crate::bus::connection::Bus;
use crate::bus::message;
use crate::error::ErrorChain;
use crate::read::filter::ALL;
use crate::read::head_watch::{HeadEstimate, POLL};
use crate::read::log_reader::LogReader;
use crate::read::ring_buffer::RingBuffer;

/// Longest delay of JetStream behind the estimated head before the feed reads from Postgres.
const LAG: Duration = Duration::from_millis(200);
/// Interval at which a feed that reads from Postgres tries to join the stream.
const PROBE: Duration = Duration::from_millis(500);
/// Most events in one read from Postgres.
const PAGE: usize = 1024;

/// The source that a feed reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// JetStream, which keeps up with the log.
    JetStream,
    /// Postgres: there is no bus, it is disconnected, or it is behind the log.
    Postgres,
}

/// The task behind a [`Feed`](super::Feed).
pub(super) struct Feeder {
    pub(super) reader: LogReader,
    pub(super) bus: Option<Bus>,
    pub(super) ring: Arc<RingBuffer>,
    pub(super) head: watch::Sender<Position>,
    pub(super) source: watch::Sender<Source>,
    pub(super) committed: watch::Receiver<Position>,
    pub(super) estimate: watch::Receiver<HeadEstimate>,
}

type Joining = BoxFuture<'static, Result<Option<JetStreamConsumer>, JoinError>>;

impl Feeder {
    pub(super) async fn run(mut self) {
        self.start_at_head().await;
        let mut connected = self.bus.as_ref().map(Bus::connected);
        let mut live: Option<JetStreamConsumer> = None;
        let mut joining: Option<Joining> = None;
        // The position that JetStream must have when the feed joins: the feed's at the last probe.
        let mut mark = self.ring.last();
        let mut rewinds = self.estimate.borrow().rewinds;
        // A position and the time by which it must have arrived; with JetStream, from there.
        let mut due: Option<(Position, Instant)> = None;
        let mut probe = interval(PROBE);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let estimate = *self.estimate.borrow_and_update();
            if estimate.rewinds != rewinds {
                tracing::error!(
                    position = %self.ring.last(), head = %estimate.head,
                    "log ends before a position already read, after a restore; feed restarted"
                );
                rewinds = estimate.rewinds;
                (live, joining, due) = (None, None, None);
                self.start_at_head().await;
                mark = self.ring.last();
            }
            if live.is_none() && due.is_none() && estimate.head > self.ring.last() {
                self.catch_up(estimate.head).await;
            }
            let arrived = live.as_ref().map_or_else(|| self.ring.last(), |live| live.position);
            if due.is_none_or(|(position, _)| position <= arrived) {
                due = (estimate.head > arrived).then(|| (estimate.head, Instant::now() + LAG));
            }
            self.set_source(live.is_some());
            tokio::select! {
                Ok(()) = self.committed.changed() => {
                    // Own commits are read from Postgres: faster than from JetStream.
                    let position = *self.committed.borrow_and_update();
                    if position > self.ring.last() {
                        self.catch_up(position).await;
                    }
                }
                messages = next(&mut live) => {
                    if !self.take(messages, &mut live).await {
                        (live, due) = (None, None);
                    }
                }
                Ok(()) = self.estimate.changed() => {
                    if live.is_none() {
                        due = None; // Without JetStream the feed reads at once.
                    }
                }
                () = until(due) => {
                    if live.take().is_some() {
                        tracing::info!("JetStream is behind the log; feed reads from Postgres");
                    }
                    due = None;
                }
                () = connection_changed(&mut connected), if live.is_some() || joining.is_some() => {
                    tracing::warn!("NATS disconnected; feed reads from Postgres");
                    (live, joining, due) = (None, None, None);
                }
                _ = probe.tick(), if live.is_none() && joining.is_none() => {
                    joining = self.join(&mut connected, mark);
                    mark = self.ring.last();
                }
                joined = joined(&mut joining) => {
                    joining = None;
                    due = None;
                    live = joined.unwrap_or_else(|error| {
                        tracing::debug!(error = %ErrorChain(&error), "feed could not join the stream");
                        None
                    });
                }
            }
        }
    }

    async fn start_at_head(&self) {
        loop {
            match self.reader.head().await {
                Ok(head) => {
                    self.ring.restart(head);
                    self.head.send_replace(head);
                    return;
                }
                Err(error) => {
                    tracing::debug!(error = %ErrorChain(&error), "feed could not read the head");
                }
            }
            sleep(POLL).await;
        }
    }

    /// Reads from Postgres up to `position`. Stops earlier at the end of the log and after an error:
    /// the caller checks the ring buffer's position.
    async fn catch_up(&self, position: Position) {
        while self.ring.last() < position {
            let after = self.ring.last();
            // Everything visible is committed and has no gaps.
            let until = Position(i64::MAX);
            let page = match self.reader.read(after, until, &ALL, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error = %ErrorChain(&error), "feed could not read the log");
                    return;
                }
            };
            if page.events.is_empty() {
                return;
            }
            let last = self.ring.extend(page.events.into_iter().map(Arc::new));
            if last == after {
                tracing::error!(%after, "log has a gap");
                return;
            }
            self.head.send_replace(last);
        }
    }

    /// Adds the messages from JetStream. Returns false if the consumer is broken.
    async fn take(
        &self,
        messages: Option<Vec<async_nats::Message>>,
        live: &mut Option<JetStreamConsumer>,
    ) -> bool {
        let (Some(messages), Some(live)) = (messages, live) else {
            return false;
        };
        let mut next = Position(self.ring.last().0 + 1);
        let mut events = Vec::new();
        for message in &messages {
            let position = message.headers.as_ref().and_then(message::position);
            let Some(position) = position else {
                continue; // Not an event.
            };
            live.position = live.position.max(position);
            if position < next {
                continue;
            }
            let event = message::decode(message).filter(|_| position == next);
            if let Some(event) = event {
                events.push(Arc::new(event));
            } else {
                // A gap, or an event that was too large for a message.
                self.ring.extend(events.drain(..));
                self.catch_up(position).await;
                if self.ring.last() < position {
                    return false; // Not in the log, or the log cannot be read.
                }
            }
            next = Position(self.ring.last().0.max(position.0) + 1);
        }
        let last = self.ring.extend(events);
        self.head.send_if_modified(|head| {
            let moved = last > *head;
            *head = last;
            moved
        });
        true
    }

    /// Begins to join the stream, if NATS is connected.
    fn join(
        &self,
        connected: &mut Option<watch::Receiver<bool>>,
        mark: Position,
    ) -> Option<Joining> {
        let up = *connected.as_mut()?.borrow_and_update();
        let bus = self.bus.clone().filter(|_| up)?;
        let join = JetStreamConsumer::join(self.reader.clone(), bus, mark, self.ring.last());
        Some(join.boxed())
    }

    fn set_source(&self, live: bool) {
        let source = if live { Source::JetStream } else { Source::Postgres };
        self.source.send_if_modified(|shown| std::mem::replace(shown, source) != source);
    }
}

async fn next(live: &mut Option<JetStreamConsumer>) -> Option<Vec<async_nats::Message>> {
    match live {
        Some(live) => live.next().await,
        None => std::future::pending().await,
    }
}

async fn joined(joining: &mut Option<Joining>) -> Result<Option<JetStreamConsumer>, JoinError> {
    match joining {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<(Position, Instant)>) {
    match due {
        Some((_, at)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for any change of the connection, even back to connected: messages under way are lost.
async fn connection_changed(connected: &mut Option<watch::Receiver<bool>>) {
    if let Some(connected) = connected {
        drop(connected.changed().await);
    } else {
        std::future::pending::<()>().await;
    }
}
