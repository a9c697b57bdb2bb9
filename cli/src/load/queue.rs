//! What one device has to say, and what has become of it: pure, for either way of sending.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::bits::Bits;
use super::plan::Plan;

/// A device's messages. What is due and not sent waits here for as long as it takes: it is a number,
/// so it is bounded by the run and takes no memory.
#[derive(Debug)]
pub(super) struct Queue {
    plan: Arc<Plan>,
    device: u32,
    /// The first that was never sent.
    next: u32,
    /// No more than so many will be sent.
    end: u32,
    /// Sent, and not known to have arrived: to be sent again, before anything else.
    again: VecDeque<u32>,
    /// Sent, and not answered.
    under_way: u32,
    acknowledged: Bits,
}

/// What became of a device's messages, for the ledger.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) device: u32,
    /// So many were due.
    pub(super) due: u32,
    /// The first so many were sent.
    pub(super) count: u32,
    pub(super) acknowledged: Bits,
}

/// One that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) sequence: u32,
    /// It was sent before.
    pub(super) again: bool,
}

impl Queue {
    pub(super) fn new(plan: Arc<Plan>, device: u32) -> Self {
        let end = plan.messages();
        let acknowledged = Bits::new(end);
        Self { plan, device, next: 0, end, again: VecDeque::new(), under_way: 0, acknowledged }
    }

    /// The next message to be sent, if one is due.
    pub(super) fn take(&mut self, elapsed: Duration) -> Option<Taken> {
        let taken = if let Some(sequence) = self.again.pop_front() {
            Taken { sequence, again: true }
        } else if self.next < self.end && self.plan.due(self.device, self.next) <= elapsed {
            self.next += 1;
            Taken { sequence: self.next - 1, again: false }
        } else {
            return None;
        };
        self.under_way += 1;
        Some(taken)
    }

    /// One is acknowledged; returns when it was due, the first time.
    pub(super) fn acknowledged(&mut self, sequence: u32) -> Option<Duration> {
        self.under_way -= 1;
        self.acknowledged.add(sequence).then(|| self.plan.due(self.device, sequence))
    }

    /// These have no answer and will not get one: they go again, in their order.
    pub(super) fn unanswered(&mut self, mut sequences: Vec<u32>) {
        self.under_way -= u32::try_from(sequences.len()).unwrap_or(u32::MAX);
        sequences.extend(self.again.drain(..));
        sequences.sort_unstable();
        self.again = sequences.into();
    }

    /// One was refused for good: it does not go again.
    pub(super) fn refused(&mut self) {
        self.under_way -= 1;
    }

    /// When there is something to be sent; `None` if never, unless something has to go again.
    pub(super) fn due(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.next < self.end).then(|| self.plan.due(self.device, self.next))
    }

    /// Nothing that is not due by now will be sent.
    pub(super) fn end(&mut self, elapsed: Duration) {
        self.end = self.plan.due_by(self.device, elapsed).max(self.next);
    }

    /// Whether everything was sent and answered.
    pub(super) fn is_done(&self) -> bool {
        self.next == self.end && self.again.is_empty() && self.under_way == 0
    }

    pub(super) fn into_sent(self) -> Sent {
        let Self { device, next: count, end: due, acknowledged, .. } = self;
        Sent { device, due, count, acknowledged }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;

    fn queue() -> Queue {
        Queue::new(Arc::new(plan(1, 10.0, 1)), 0)
    }

    fn taken(queue: &mut Queue, millis: u64) -> Vec<u32> {
        let elapsed = Duration::from_millis(millis);
        std::iter::from_fn(|| queue.take(elapsed)).map(|taken| taken.sequence).collect()
    }

    #[test]
    fn what_is_due_is_sent_once_and_late_rather_than_never() {
        let mut queue = queue();
        assert_eq!(taken(&mut queue, 0), [0]);
        assert!(taken(&mut queue, 99).is_empty());
        assert_eq!(queue.due(), Some(Duration::from_millis(100)));
        assert_eq!(taken(&mut queue, 400), [1, 2, 3, 4]);
        assert_eq!(taken(&mut queue, 5_000), [5, 6, 7, 8, 9]);
        assert_eq!((queue.due(), queue.is_done()), (None, false));
        for sequence in 0..10 {
            assert!(queue.acknowledged(sequence).is_some());
        }
        assert!(queue.is_done());
        assert_eq!(queue.into_sent().acknowledged.count(), 10);
    }

    #[test]
    fn what_was_not_answered_goes_again_in_its_order() {
        let mut queue = queue();
        assert_eq!(taken(&mut queue, 300), [0, 1, 2, 3]);
        assert_eq!(queue.acknowledged(1), Some(Duration::from_millis(100)));
        queue.unanswered(vec![3, 0, 2]);
        assert_eq!(queue.take(Duration::ZERO), Some(Taken { sequence: 0, again: true }));
        queue.unanswered(vec![0]);
        assert_eq!(taken(&mut queue, 400), [0, 2, 3, 4]);
        assert_eq!(queue.acknowledged(0), Some(Duration::ZERO));
        assert_eq!(queue.acknowledged.count(), 2);
    }

    #[test]
    fn an_early_end_leaves_nothing_that_was_due() {
        let mut queue = queue();
        assert_eq!(taken(&mut queue, 100), [0, 1]);
        queue.end(Duration::from_millis(350));
        assert_eq!(taken(&mut queue, 5_000), [2, 3]);
    }
}
