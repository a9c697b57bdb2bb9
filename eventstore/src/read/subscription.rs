//! A subscription: follows the log from a position on. It reads recent events from the ring buffer
//! and older ones from Postgres, and never delays the feed or another subscription.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::error::Unavailable;
use crate::read::filter::Filter;
use crate::read::log_reader::LogReader;
use crate::read::page::Batch;
use crate::read::ring_buffer::RingBuffer;

/// Shortest interval between two batches without events: a consumer moves its checkpoint for each,
/// and 20 consumers did so for every batch of telemetry.
const EMPTY_BATCH_EVERY: Duration = Duration::from_millis(100);

/// Follows the log from a position on. Created by [`Feed::subscribe`](crate::Feed::subscribe).
#[derive(Debug)]
pub struct Subscription {
    reader: LogReader,
    ring: Arc<RingBuffer>,
    head: watch::Receiver<Position>,
    filter: Filter,
    position: Position,
    /// Earliest time of the next batch without events.
    next_empty_at: Instant,
    /// The position has moved since the last batch, without a matching event.
    unreported: bool,
}

impl Subscription {
    pub(crate) fn new(
        reader: LogReader,
        ring: Arc<RingBuffer>,
        head: watch::Receiver<Position>,
        filter: Filter,
        position: Position,
    ) -> Self {
        let next_empty_at = Instant::now();
        Self { reader, ring, head, filter, position, next_empty_at, unreported: false }
    }

    /// Waits until the log goes on after this subscription's position, returns at most `limit`
    /// events that follow, and moves the position. The batch has no events if none matched.
    ///
    /// Cancel-safe. After an error it may be called again and continues at the same position.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Unavailable> {
        let limit = limit.max(1);
        loop {
            let Some(head) = self.wait_for_head().await? else {
                return Ok(self.empty_batch());
            };
            let batch = match self.ring.after(self.position, &self.filter, limit) {
                Some(batch) if batch.through > self.position => batch,
                _ => self.read(head, limit).await?,
            };
            self.position = batch.through;
            if !batch.events.is_empty() {
                self.unreported = false;
                return Ok(batch);
            }
            self.unreported = true;
            if Instant::now() >= self.next_empty_at {
                return Ok(self.empty_batch());
            }
        }
    }

    /// Waits for a head after the position. None if an empty batch is due first.
    async fn wait_for_head(&mut self) -> Result<Option<Position>, Unavailable> {
        let ahead = |head: &Position| *head > self.position;
        tokio::select! {
            head = self.head.wait_for(ahead) => match head {
                Ok(head) => Ok(Some(*head)),
                // The feed stopped, at shutdown.
                Err(_closed) => Err(sqlx::Error::PoolClosed.into()),
            },
            () = sleep_until(self.next_empty_at), if self.unreported => Ok(None),
        }
    }

    fn empty_batch(&mut self) -> Batch {
        self.unreported = false;
        self.next_empty_at = Instant::now() + EMPTY_BATCH_EVERY;
        Batch { events: Vec::new(), through: self.position }
    }

    async fn read(&self, head: Position, limit: usize) -> Result<Batch, Unavailable> {
        let page = self.reader.read(self.position, head, &self.filter, limit).await?;
        Ok(Batch { events: page.events.into_iter().map(Arc::new).collect(), through: page.through })
    }

    /// Returns the position up to which every matching event has been delivered.
    pub fn position(&self) -> Position {
        self.position
    }
}
