//! The feed: follows the whole log once for the process, and buffers its newest events for all
//! subscriptions.
//!
//! It reads every event from Postgres. The bus only wakes it up, since any NATS client may publish
//! there. See `docs/adr/0017-event-bodies-from-postgres.md`.

mod feeder;

use std::sync::Arc;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::connection::Bus;
use crate::read::filter::Filter;
use crate::read::head_watch;
use crate::read::log_reader::LogReader;
use crate::read::ring_buffer::RingBuffer;
use crate::read::subscription::Subscription;
use crate::tasks::Tasks;
use feeder::Feeder;

/// Follows the log for a process. Clones share its ring buffer and its task.
#[derive(Debug, Clone)]
pub struct Feed {
    reader: LogReader,
    ring: Arc<RingBuffer>,
    head: watch::Receiver<Position>,
}

impl Feed {
    /// Starts a feed at the head of the log. The bus announces the commits of other processes, which
    /// are otherwise found by a poll every 250 ms.
    ///
    /// After `shutdown` is cancelled, subscriptions return an error at the end of the log.
    pub fn start(
        reader: &LogReader,
        bus: Option<Bus>,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        let (head_sender, head) = watch::channel(Position::START);
        let ring = Arc::new(RingBuffer::default());
        let estimate = head_watch::follow(reader, bus, head.clone(), tasks, shutdown.clone());
        let feeder =
            Feeder { reader: reader.clone(), ring: Arc::clone(&ring), head: head_sender, estimate };
        tasks.spawn("feed", async move {
            shutdown.run_until_cancelled(feeder.run()).await;
        });
        Self { reader: reader.clone(), ring, head }
    }

    /// Watches the last position that this feed has read.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.clone()
    }

    /// Subscribes to the matching events after `after`, including future ones.
    pub fn subscribe(&self, after: Position, filter: Filter) -> Subscription {
        let (ring, head) = (Arc::clone(&self.ring), self.head.clone());
        Subscription::new(self.reader.clone(), ring, head, filter, after)
    }
}
