//! The tail of the log for a console: samples of the newest events, at most four a second.
//!
//! A console has a position and nothing else. When it can take the next sample, the newest events after
//! its position are taken from the feed's ring buffer; the others are counted and passed over. So a
//! browser that reads slowly gets fewer samples, and nothing waits for it in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use eventstore::{Feed, Filter, RawEvent, Unavailable};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use utoipa::ToSchema;

use super::super::event_view::EventRow;

/// Shortest time between two samples.
const EVERY: Duration = Duration::from_millis(250);
/// Most events in a sample.
const SHOWN: usize = 40;
/// Most events that a filter is applied to for one sample; those before them are passed over.
const EXAMINED: i64 = 10_000;
/// Events taken from the feed at a time.
const BATCH: usize = 1024;
/// Wait before the log is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// The newest events after the sample before.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct TailSample {
    /// The newest matching events, newest last; 40 at most.
    events: Vec<EventRow>,
    /// Matching events after the sample before that are not shown, because newer ones are.
    not_shown: i64,
    /// Events that were passed over without applying the filter, because the console was more than
    /// 10,000 events behind. 0 without a filter.
    not_examined: i64,
    /// Every event up to here is in this sample or an earlier one, or counted; the `id` of the
    /// server-sent event. Resume with it as `after`.
    position: i64,
}

impl TailSample {
    pub(super) fn position(&self) -> i64 {
        self.position
    }
}

/// Follows the log for one console.
#[derive(Debug)]
pub(super) struct Tail {
    feed: Feed,
    head: watch::Receiver<Position>,
    filter: Filter,
    position: Position,
    next_at: Instant,
    not_examined: i64,
}

impl Tail {
    /// Follows the events after `after` that match `filter`.
    pub(super) fn new(feed: &Feed, after: Position, filter: Filter) -> Self {
        Self {
            feed: feed.clone(),
            head: feed.head(),
            filter,
            position: after,
            next_at: Instant::now(),
            not_examined: 0,
        }
    }

    /// Waits for matching events and returns the newest of them; none after the shutdown. Not
    /// cancel-safe: events may be passed over.
    pub(super) async fn next(&mut self) -> Option<TailSample> {
        loop {
            sleep_until(self.next_at).await;
            let position = self.position;
            let head = *self.head.wait_for(|head| *head > position).await.ok()?;
            self.next_at = Instant::now() + EVERY;
            match self.sample(head).await {
                Ok(sample) if sample.events.is_empty() => self.not_examined += sample.not_examined,
                Ok(mut sample) => {
                    sample.not_examined += std::mem::take(&mut self.not_examined);
                    return Some(sample);
                }
                Err(error) => {
                    tracing::debug!(%error, "tail of a console failed to read the log, retrying");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Moves to `head` and returns the newest matching events before it.
    async fn sample(&mut self, head: Position) -> Result<TailSample, Unavailable> {
        let is_filtered = self.filter != Filter::default();
        let most = if is_filtered { EXAMINED } else { i64::try_from(SHOWN).unwrap_or_default() };
        let start = self.position.max(Position(head.0 - most));
        let passed = start.0 - self.position.0;
        let mut newest: VecDeque<Arc<RawEvent>> = VecDeque::with_capacity(SHOWN);
        let mut matched = 0;
        let mut subscription = self.feed.subscribe(start, self.filter.clone());
        while subscription.position() < head {
            for event in subscription.next(BATCH).await?.events {
                matched += 1;
                if newest.len() >= SHOWN {
                    newest.pop_front();
                }
                newest.push_back(event);
            }
        }
        self.position = subscription.position();
        let shown = i64::try_from(newest.len()).unwrap_or_default();
        let (unread, not_examined) = if is_filtered { (0, passed) } else { (passed, 0) };
        // The log accepts JSON only, so every event can be shown.
        let events = newest.iter().filter_map(|event| EventRow::new(event).ok()).collect();
        Ok(TailSample {
            events,
            not_shown: matched - shown + unread,
            not_examined,
            position: self.position.0,
        })
    }
}
