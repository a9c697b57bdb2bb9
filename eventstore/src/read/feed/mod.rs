//! The feed: follows the whole log once for the process, and keeps its newest part in memory for
//! every subscription.
//!
//! It lives on JetStream while that keeps up and on Postgres whenever it does not, and takes from
//! either strictly by position. What this process commits itself it reads from Postgres at once:
//! that is the shorter way. See `docs/adr/0004-feed.md`.

mod jetstream_consumer;

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use crate::bus::message;
use crate::read::ALL;
use crate::read::head_watch::{self, HeadEstimate, POLL};
use crate::read::ring_buffer::Ring;
use crate::{EventStore, Filter, Subscription};
use jetstream_consumer::{JetStreamConsumer, JoinError};

/// How far JetStream may be behind what is said of the head before the log itself is read.
const LAG: Duration = Duration::from_millis(200);
/// How often a feed that lives on Postgres looks whether JetStream has caught up.
const PROBE: Duration = Duration::from_millis(500);
/// Events read from the log at once.
const PAGE: usize = 1024;

/// Where a feed has its events from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// JetStream delivers and keeps up.
    JetStream,
    /// There is no bus, or it is away, or behind.
    Postgres,
}

/// The process's one follower of the log; clones share it.
#[derive(Debug, Clone)]
pub struct Feed {
    store: EventStore,
    ring: Arc<Ring>,
    head: watch::Receiver<Position>,
    source: watch::Receiver<Source>,
}

impl Feed {
    /// Starts following the log at its head.
    pub fn start(
        store: EventStore,
        bus: Option<Bus>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (head_sender, head) = watch::channel(Position::START);
        let (source_sender, source) = watch::channel(Source::Postgres);
        let ring = Arc::new(Ring::default());
        let estimate =
            head_watch::follow(store.clone(), bus.clone(), head.clone(), tasks, shutdown.clone());
        let feeder = Feeder {
            committed: store.committed(),
            store: store.clone(),
            bus,
            ring: Arc::clone(&ring),
            head: head_sender,
            source: source_sender,
            estimate,
        };
        tasks.spawn(async move {
            shutdown.run_until_cancelled(feeder.run()).await;
        });
        Self { store, ring, head, source }
    }

    /// The last position this feed knows to be committed.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Where the events come from just now.
    pub fn source(&self) -> watch::Receiver<Source> {
        self.source.clone()
    }

    /// The wanted events after `after`, those to come included.
    pub fn subscribe(&self, after: Position, filter: Filter) -> Subscription {
        Subscription {
            store: self.store.clone(),
            ring: Arc::clone(&self.ring),
            head: self.head.clone(),
            filter,
            position: after,
            next_empty_at: Instant::now(),
            unreported: false,
        }
    }
}

struct Feeder {
    store: EventStore,
    bus: Option<Bus>,
    ring: Arc<Ring>,
    head: watch::Sender<Position>,
    source: watch::Sender<Source>,
    committed: watch::Receiver<Position>,
    estimate: watch::Receiver<HeadEstimate>,
}

type Joining = BoxFuture<'static, Result<Option<JetStreamConsumer>, JoinError>>;

impl Feeder {
    async fn run(mut self) {
        self.start_at_head().await;
        let mut connected = self.bus.as_ref().map(Bus::connected);
        let mut live: Option<JetStreamConsumer> = None;
        let mut joining: Option<Joining> = None;
        // What JetStream must hold when it is joined: where the feed was at the last probe.
        let mut mark = self.ring.last();
        let mut rewinds = self.estimate.borrow().rewinds;
        // By when what was estimate of must be here; with JetStream: must have come from there.
        let mut due: Option<(Position, Instant)> = None;
        let mut probe = interval(PROBE);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let estimate = *self.estimate.borrow_and_update();
            if estimate.rewinds != rewinds {
                tracing::error!(
                    position = %self.ring.last(), head = %estimate.head,
                    "the log ends before what was read of it: it was restored"
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
                    // Our own: the log is the shortest way to it.
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
                        due = None; // Read at once.
                    }
                }
                () = until(due) => {
                    if live.take().is_some() {
                        tracing::info!("jetstream is behind; reading the log itself");
                    }
                    due = None;
                }
                () = connection_changed(&mut connected), if live.is_some() || joining.is_some() => {
                    tracing::warn!("the bus is away; reading the log itself");
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
                        tracing::debug!(%error, "the stream cannot be joined");
                        None
                    });
                }
            }
        }
    }

    async fn start_at_head(&self) {
        loop {
            match self.store.head().await {
                Ok(head) => {
                    self.ring.restart(head);
                    self.head.send_replace(head);
                    return;
                }
                Err(error) => tracing::debug!(%error, "the feed waits for the log"),
            }
            sleep(POLL).await;
        }
    }

    /// Reads the log up to `position`, or as far as it goes. Whoever called looks how far it came.
    async fn catch_up(&self, position: Position) {
        while self.ring.last() < position {
            let after = self.ring.last();
            // Whatever is visible is committed, and without gaps.
            let until = Position(i64::MAX);
            let page = match self.store.read(after, until, &ALL, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, "the feed cannot read the log");
                    return;
                }
            };
            if page.events.is_empty() {
                return;
            }
            let last = self.ring.extend(page.events.into_iter().map(Arc::new));
            if last == after {
                tracing::error!(%after, "the log has a gap");
                return;
            }
            self.head.send_replace(last);
        }
    }

    /// Takes what JetStream delivered. False: this consumer is of no use any more.
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
                continue; // Somebody else's.
            };
            live.position = live.position.max(position);
            if position < next {
                continue;
            }
            let event = message::decode(message).filter(|_| position == next);
            if let Some(event) = event {
                events.push(Arc::new(event));
            } else {
                // A gap, or an event that did not fit into a message.
                self.ring.extend(events.drain(..));
                self.catch_up(position).await;
                if self.ring.last() < position {
                    return false; // It is not in the log, or the log is away.
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

    /// Begins to join the stream, if the bus is there.
    fn join(
        &self,
        connected: &mut Option<watch::Receiver<bool>>,
        mark: Position,
    ) -> Option<Joining> {
        let up = *connected.as_mut()?.borrow_and_update();
        let bus = self.bus.clone().filter(|_| up)?;
        let join = JetStreamConsumer::join(self.store.clone(), bus, mark, self.ring.last());
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

/// Any change, back to what it was too: what was under way is connection_changed.
async fn connection_changed(connected: &mut Option<watch::Receiver<bool>>) {
    if let Some(connected) = connected {
        drop(connected.changed().await);
    } else {
        std::future::pending::<()>().await;
    }
}
