//! The feed: follows the whole log once for the process, and buffers its newest events for all
//! subscriptions.
//!
//! It reads from JetStream while that keeps up and from Postgres otherwise, strictly by position.
//! Commits of its own process it reads from Postgres at once, which is faster. See
//! `docs/adr/0004-feed.md`.

mod feeder;
mod jetstream_consumer;

use std::sync::Arc;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::connection::Bus;
use crate::read::filter::Filter;
use crate::read::head_watch;
use crate::read::log_reader::LogReader;
use crate::read::ring_buffer::RingBuffer;
use crate::read::subscription::Subscription;
use feeder::Feeder;
pub use feeder::Source;

/// Follows the log for a process. Clones share its ring buffer and its task.
#[derive(Debug, Clone)]
pub struct Feed {
    reader: LogReader,
    ring: Arc<RingBuffer>,
    head: watch::Receiver<Position>,
    source: watch::Receiver<Source>,
}

impl Feed {
    /// Starts a feed at the head of the log. Without a bus it reads from Postgres only.
    ///
    /// After `shutdown` is cancelled, subscriptions return an error at the end of the log.
    pub fn start(
        reader: &LogReader,
        bus: Option<Bus>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (head_sender, head) = watch::channel(Position::START);
        let (source_sender, source) = watch::channel(Source::Postgres);
        let ring = Arc::new(RingBuffer::default());
        let estimate =
            head_watch::follow(reader, bus.clone(), head.clone(), tasks, shutdown.clone());
        let feeder = Feeder {
            committed: reader.committed(),
            reader: reader.clone(),
            bus,
            ring: Arc::clone(&ring),
            head: head_sender,
            source: source_sender,
            estimate,
        };
        tasks.spawn(async move {
            shutdown.run_until_cancelled(feeder.run()).await;
        });
        Self { reader: reader.clone(), ring, head, source }
    }

    /// Watches the last position that this feed has read.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Watches the source that this feed reads from.
    pub fn source(&self) -> watch::Receiver<Source> {
        self.source.clone()
    }

    /// Subscribes to the matching events after `after`, including future ones.
    pub fn subscribe(&self, after: Position, filter: Filter) -> Subscription {
        let (ring, head) = (Arc::clone(&self.ring), self.head.clone());
        Subscription::new(self.reader.clone(), ring, head, filter, after)
    }
}
