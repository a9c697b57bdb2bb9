//! The messages of one device and their state, for either mode. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::bitset::BitSet;
use super::plan::Plan;

/// A device's messages. Those due and not sent wait here for as long as it takes: they are numbers,
/// so they take no memory.
#[derive(Debug)]
pub(crate) struct Queue {
    plan: Arc<Plan>,
    device: u32,
    /// The first message never sent.
    next: u32,
    /// Messages from here on are not sent.
    end: u32,
    /// To be sent again, before anything else.
    again: VecDeque<u32>,
    /// Messages sent and neither acknowledged nor refused.
    in_flight: u32,
    acknowledged: BitSet,
}

/// What a device sent, for the ledger.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) device: u32,
    /// The number of messages that were due.
    pub(crate) due: u32,
    /// The number of messages sent, counted from the first.
    pub(crate) count: u32,
    pub(crate) acknowledged: BitSet,
}

/// A message to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sequence: u32,
    /// Whether it was sent before.
    pub(crate) again: bool,
}

impl Queue {
    pub(crate) fn new(plan: Arc<Plan>, device: u32) -> Self {
        let end = plan.messages();
        let acknowledged = BitSet::new(end);
        Self { plan, device, next: 0, end, again: VecDeque::new(), in_flight: 0, acknowledged }
    }

    /// Takes the next message that is due.
    pub(crate) fn take(&mut self, elapsed: Duration) -> Option<Taken> {
        let taken = if let Some(sequence) = self.again.pop_front() {
            Taken { sequence, again: true }
        } else if self.next < self.end && self.plan.due(self.device, self.next) <= elapsed {
            self.next += 1;
            Taken { sequence: self.next - 1, again: false }
        } else {
            return None;
        };
        self.in_flight += 1;
        Some(taken)
    }

    /// Records an acknowledgement. Returns when the message was due, the first time.
    pub(crate) fn acknowledged(&mut self, sequence: u32) -> Option<Duration> {
        self.in_flight -= 1;
        self.acknowledged.add(sequence).then(|| self.plan.due(self.device, sequence))
    }

    /// Returns messages that will not be acknowledged, to be sent again in their order.
    pub(crate) fn unacknowledged(&mut self, mut sequences: Vec<u32>) {
        self.in_flight -= u32::try_from(sequences.len()).unwrap_or(u32::MAX);
        sequences.extend(self.again.drain(..));
        sequences.sort_unstable();
        self.again = sequences.into();
    }

    /// Records a permanent refusal: the message is not sent again.
    pub(crate) fn refused(&mut self) {
        self.in_flight -= 1;
    }

    /// When the next message is due; `None` if there is none.
    pub(crate) fn due(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        (self.next < self.end).then(|| self.plan.due(self.device, self.next))
    }

    /// Ends the schedule: a message that is not due yet is not sent.
    pub(crate) fn end(&mut self, elapsed: Duration) {
        self.end = self.plan.due_by(self.device, elapsed).max(self.next);
    }

    /// Whether everything was sent and acknowledged or refused.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.end && self.again.is_empty() && self.in_flight == 0
    }

    pub(crate) fn into_sent(self) -> Sent {
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
    fn a_due_message_is_sent_once_and_late_rather_than_never() {
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
    fn unacknowledged_messages_are_sent_again_in_their_order() {
        let mut queue = queue();
        assert_eq!(taken(&mut queue, 300), [0, 1, 2, 3]);
        assert_eq!(queue.acknowledged(1), Some(Duration::from_millis(100)));
        queue.unacknowledged(vec![3, 0, 2]);
        assert_eq!(queue.take(Duration::ZERO), Some(Taken { sequence: 0, again: true }));
        queue.unacknowledged(vec![0]);
        assert_eq!(taken(&mut queue, 400), [0, 2, 3, 4]);
        assert_eq!(queue.acknowledged(0), Some(Duration::ZERO));
        assert_eq!(queue.acknowledged.count(), 2);
    }

    #[test]
    fn an_early_end_sends_what_was_due() {
        let mut queue = queue();
        assert_eq!(taken(&mut queue, 100), [0, 1]);
        queue.end(Duration::from_millis(350));
        assert_eq!(taken(&mut queue, 5_000), [2, 3]);
    }
}
