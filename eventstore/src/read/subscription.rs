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
const NOTHING: Duration = Duration::from_millis(100);

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
    pub(crate) nothing_at: Instant,
    /// Nothing was wanted of what was looked at, and that was not said yet.
    pub(crate) untold: bool,
}

impl Subscription {
    /// Waits until the log goes on behind this subscription's position, and returns what follows,
    /// at most `limit` events: possibly none, when nothing of it was wanted. Moves the position.
    /// Cancel-safe; after an error it can be called again.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Unavailable> {
        let limit = limit.max(1);
        loop {
            let Some(head) = self.ahead().await? else {
                return Ok(self.nothing());
            };
            let batch = match self.ring.after(self.position, &self.filter, limit) {
                Some(batch) if batch.through > self.position => batch,
                _ => self.read(head, limit).await?,
            };
            self.position = batch.through;
            if !batch.events.is_empty() {
                self.untold = false;
                return Ok(batch);
            }
            self.untold = true;
            if Instant::now() >= self.nothing_at {
                return Ok(self.nothing());
            }
        }
    }

    /// Waits for the log to go on. None when meanwhile it has to be said that nothing was wanted.
    async fn ahead(&mut self) -> Result<Option<Position>, Unavailable> {
        let ahead = |head: &Position| *head > self.position;
        tokio::select! {
            head = self.head.wait_for(ahead) => match head {
                Ok(head) => Ok(Some(*head)),
                // The feed ends with the process.
                Err(_closed) => Err(Unavailable(sqlx::Error::PoolClosed)),
            },
            () = sleep_until(self.nothing_at), if self.untold => Ok(None),
        }
    }

    fn nothing(&mut self) -> Batch {
        self.untold = false;
        self.nothing_at = Instant::now() + NOTHING;
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
