//! A subscription: the log from one position on, for ever. It reads from memory what is recent and
//! from Postgres what is not, at its own pace; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::read::ring_buffer::Ring;
use crate::{EventStore, Filter, RawEvent, Unavailable};

/// A subscription that finds nothing wanted says so at once, and then no more often than this: its
/// reader moves a checkpoint each time, and twenty readers did so for each batch of telemetry.
const EMPTY_BATCH_EVERY: Duration = Duration::from_millis(100);

/// A stretch of the log, as a subscription delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub events: Vec<Arc<RawEvent>>,
    /// Every wanted event up to here is in this batch or was in one before it.
    pub through: Position,
}

/// A reader of the log. Made by [`crate::Feed::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    pub(crate) store: EventStore,
    pub(crate) ring: Arc<Ring>,
    pub(crate) head: watch::Receiver<Position>,
    pub(crate) filter: Filter,
    pub(crate) position: Position,
    /// When it is next said that nothing was wanted.
    pub(crate) next_empty_at: Instant,
    /// Nothing was wanted of what was looked at, and that was not said yet.
    pub(crate) unreported: bool,
}

impl Subscription {
    /// Waits until the log goes on behind this subscription's position, and returns what follows,
    /// at most `limit` events: possibly none, when nothing of it was wanted. Moves the position.
    /// Cancel-safe; after an error it can be called again.
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

    /// Waits for the log to go on. None when meanwhile it has to be said that nothing was wanted.
    async fn wait_for_head(&mut self) -> Result<Option<Position>, Unavailable> {
        let wait_for_head = |head: &Position| *head > self.position;
        tokio::select! {
            head = self.head.wait_for(wait_for_head) => match head {
                Ok(head) => Ok(Some(*head)),
                // The feed ends with the process.
                Err(_closed) => Err(Unavailable(sqlx::Error::PoolClosed)),
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
        let page = self.store.read(self.position, head, &self.filter, limit).await?;
        Ok(Batch { events: page.events.into_iter().map(Arc::new).collect(), through: page.through })
    }

    /// Everything wanted up to here has been delivered.
    pub fn position(&self) -> Position {
        self.position
    }
}
