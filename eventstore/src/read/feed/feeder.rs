//! The task that fills a feed's ring buffer from Postgres.

use std::sync::Arc;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::error::ErrorChain;
use crate::read::filter::ALL;
use crate::read::head_watch::{HeadEstimate, POLL};
use crate::read::log_reader::LogReader;
use crate::read::ring_buffer::RingBuffer;

/// Most events in one read from Postgres.
const PAGE: usize = 1024;

/// The task behind a [`Feed`](super::Feed).
pub(super) struct Feeder {
    pub(super) reader: LogReader,
    pub(super) ring: Arc<RingBuffer>,
    pub(super) head: watch::Sender<Position>,
    pub(super) estimate: watch::Receiver<HeadEstimate>,
}

impl Feeder {
    pub(super) async fn run(mut self) {
        self.start_at_head().await;
        let mut rewinds = self.estimate.borrow().rewinds;
        loop {
            let estimate = *self.estimate.borrow_and_update();
            if estimate.rewinds != rewinds {
                tracing::error!(
                    position = %self.ring.last(), head = %estimate.head,
                    "log ends before a position already read, after a restore; feed restarted"
                );
                rewinds = estimate.rewinds;
                self.start_at_head().await;
            }
            self.catch_up(estimate.head).await;
            let behind = self.ring.last() < estimate.head;
            tokio::select! {
                changed = self.estimate.changed() => if changed.is_err() {
                    return; // Shutdown.
                },
                () = sleep(POLL), if behind => {} // The log could not be read.
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

    /// Reads up to `position`. Stops earlier at the end of the log and after an error: the caller
    /// checks the ring buffer's position.
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
}
