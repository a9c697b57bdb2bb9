//! Samples that the broker has not acknowledged yet.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::watch;

/// Most samples kept, of some 300 bytes each: more than a day at one every ten seconds.
pub(super) const CAPACITY: usize = 10_000;

/// Unacknowledged samples, oldest first. The sampler adds them, the current connection removes them.
#[derive(Debug)]
pub(super) struct Outbox(watch::Sender<Samples>);

#[derive(Debug, Default)]
struct Samples {
    waiting: VecDeque<Bytes>,
    /// How many were ever added: the number of the newest.
    added: u64,
    /// How many were dropped since [`Outbox::take_dropped`].
    dropped: u64,
}

impl Samples {
    /// The number of the oldest, counted from 1.
    fn oldest(&self) -> u64 {
        self.added + 1 - self.waiting.len() as u64
    }

    /// The oldest with its number, if one newer than `than` was added.
    fn oldest_after(&self, than: u64) -> Option<(u64, Bytes)> {
        let sample = self.waiting.front().filter(|_| self.added > than)?;
        Some((self.oldest(), sample.clone()))
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Adds a sample. A full outbox drops its oldest.
    pub(super) fn add(&self, sample: Bytes) {
        self.0.send_modify(|samples| {
            samples.waiting.push_back(sample);
            samples.added += 1;
            if samples.waiting.len() > CAPACITY {
                samples.waiting.pop_front();
                samples.dropped += 1;
            }
        });
    }

    /// Returns the oldest sample and its number, once a sample newer than `than` was added. Removes
    /// nothing.
    pub(super) async fn next(&self, than: u64) -> (u64, Bytes) {
        let mut changes = self.0.subscribe();
        loop {
            let next = changes.borrow_and_update().oldest_after(than);
            if let Some(next) = next {
                return next;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await; // Unreachable: the sender is `self`.
            }
        }
    }

    /// Removes the sample of this number, unless it was dropped already.
    pub(super) fn remove(&self, number: u64) {
        self.0.send_modify(|samples| {
            if samples.oldest() == number {
                samples.waiting.pop_front();
            }
        });
    }

    /// The number of the newest sample.
    pub(super) fn newest(&self) -> u64 {
        self.0.borrow().added
    }

    /// How many samples it holds.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    /// How many were dropped since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        let mut dropped = 0;
        self.0.send_modify(|samples| dropped = std::mem::take(&mut samples.dropped));
        dropped
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn text(number: u64) -> Bytes {
        number.to_string().into()
    }

    #[tokio::test]
    async fn samples_are_returned_in_order_until_removed() {
        let outbox = Outbox::new();
        assert!(outbox.next(0).now_or_never().is_none());
        (1..=3).for_each(|number| outbox.add(text(number)));
        assert_eq!(outbox.next(0).await, (1, text(1)));
        assert_eq!(outbox.next(0).await, (1, text(1)), "it was not acknowledged");
        outbox.remove(1);
        outbox.remove(1);
        assert_eq!(outbox.next(0).await, (2, text(2)));
        assert_eq!(outbox.count(), 2);
    }

    #[tokio::test]
    async fn waiting_for_a_newer_sample_returns_the_oldest() {
        let outbox = Outbox::new();
        outbox.add(text(1));
        assert!(outbox.next(outbox.newest()).now_or_never().is_none());
        let (next, ()) = tokio::join!(outbox.next(1), async { outbox.add(text(2)) });
        assert_eq!(next, (1, text(1)));
    }

    #[tokio::test]
    async fn a_full_outbox_drops_and_counts_the_oldest() {
        let outbox = Outbox::new();
        let capacity = CAPACITY as u64;
        (1..=capacity + 7).for_each(|number| outbox.add(text(number)));
        assert_eq!(
            (outbox.count(), outbox.take_dropped(), outbox.take_dropped()),
            (CAPACITY, 7, 0)
        );
        outbox.remove(7); // Published before it was dropped, acknowledged after: removes no other.
        assert_eq!(outbox.next(0).await, (8, text(8)));
    }
}
