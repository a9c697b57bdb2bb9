//! Traffic: events a second, of each context and through each door, over the last seconds. Counted
//! from the feed's ring buffer, while a console is open.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use domain::CONTEXTS;
use eventsourcing::Position;
use eventstore::{Feed, Filter, RawEvent, Unavailable};

use super::door::Door;
use super::sample::round;

/// Rates are measured over at least this time, once it has passed.
const WINDOW: Duration = Duration::from_secs(5);
/// Most events that are counted at once: more than the ring buffer holds would be read from Postgres.
/// The rates of contexts and doors are unknown then, until the next measurement.
const MOST_COUNTED: i64 = 25_000;
/// Events taken from the feed at a time.
const BATCH: usize = 1024;

/// Type of the events that record a refused message.
const REJECTED: &str = "message_rejected";

/// Counts since the first mark.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    contexts: [u64; CONTEXTS.len()],
    doors: [u64; Door::ALL.len()],
    rejected: u64,
    commands: u64,
    received: u64,
}

/// The counts at one time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    position: Position,
    counts: Counts,
}

/// Counts events, and what this process counts otherwise.
#[derive(Debug)]
pub(super) struct Traffic {
    feed: Feed,
    counts: Counts,
    /// From the earliest that a rate is measured from to the latest.
    marks: VecDeque<Mark>,
}

/// Numbers a second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    pub(super) events: f64,
    /// In the order of [`CONTEXTS`].
    pub(super) contexts: [f64; CONTEXTS.len()],
    /// In the order of [`Door::ALL`].
    pub(super) doors: [f64; Door::ALL.len()],
    pub(super) rejected: f64,
    pub(super) commands: f64,
    pub(super) received: f64,
}

impl Traffic {
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, counts: Counts::default(), marks: VecDeque::new() }
    }

    /// Marks the head without counting what came before it: rates are measured from here.
    pub(super) fn rest(&mut self, commands: u64, received: u64) {
        self.marks.clear();
        self.mark(*self.feed.head().borrow(), commands, received);
    }

    /// Counts the events since the last mark. `commands` and `received` are totals of this process.
    pub(super) async fn count(&mut self, commands: u64, received: u64) {
        let head = *self.feed.head().borrow();
        let counted = match self.marks.back() {
            Some(last) if (0..=MOST_COUNTED).contains(&(head.0 - last.position.0)) => {
                let after = last.position;
                self.count_between(after, head).await
            }
            // Nothing was counted before, too much happened since, or the log was restored.
            _ => return self.rest(commands, received),
        };
        match counted {
            Ok(position) => self.mark(position, commands, received),
            Err(error) => {
                tracing::debug!(%error, "events could not be counted");
                self.rest(commands, received);
            }
        }
    }

    async fn count_between(
        &mut self,
        after: Position,
        head: Position,
    ) -> Result<Position, Unavailable> {
        let mut subscription = self.feed.subscribe(after, Filter::default());
        while subscription.position() < head {
            for event in subscription.next(BATCH).await?.events {
                self.counts.add(&event);
            }
        }
        Ok(subscription.position())
    }

    fn mark(&mut self, position: Position, commands: u64, received: u64) {
        let at = Instant::now();
        self.counts.commands = commands;
        self.counts.received = received;
        self.marks.push_back(Mark { at, position, counts: self.counts });
        // The first mark is the latest of those that are at least so old.
        while self.marks.get(1).is_some_and(|second| at - second.at >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// The rates between the first mark and the last; none before there are two.
    pub(super) fn rates(&self) -> Option<Rates> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let seconds = (last.at - first.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let rate = |later: u64, earlier: u64| round(later.saturating_sub(earlier) as f64 / seconds);
        let events = u64::try_from(last.position.0 - first.position.0).unwrap_or_default();
        let (first, last) = (first.counts, last.counts);
        Some(Rates {
            events: rate(events, 0),
            contexts: std::array::from_fn(|at| rate(last.contexts[at], first.contexts[at])),
            doors: std::array::from_fn(|at| rate(last.doors[at], first.doors[at])),
            rejected: rate(last.rejected, first.rejected),
            commands: rate(last.commands, first.commands),
            received: rate(last.received, first.received),
        })
    }
}

impl Counts {
    fn add(&mut self, event: &RawEvent) {
        let category = event.stream.category();
        let context = CONTEXTS.iter().position(|known| known.categories.contains(&category));
        if let Some(context) = context {
            self.contexts[context] += 1;
        }
        let door = Door::of(&event.metadata);
        if let Some(door) = door.and_then(|of| Door::ALL.iter().position(|door| *door == of)) {
            self.doors[door] += 1;
        }
        self.rejected += u64::from(&*event.event_type == REJECTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_rejections_is_that_of_telemetry() {
        let mut types = domain::telemetry::CONTEXT.events.iter().copied().flatten();
        assert!(types.any(|(name, _)| *name == REJECTED));
    }
}
