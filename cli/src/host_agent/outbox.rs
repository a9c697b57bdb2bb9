//! Samples on their way: kept until the broker has them for somebody, as long as there is room.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::watch;

/// Samples kept at most, of some 300 bytes each: more than a day, one every ten seconds.
pub(super) const MOST: usize = 10_000;

/// The samples nobody has yet, oldest first. The sampler adds to them, the connection of the day
/// takes them away.
#[derive(Debug)]
pub(super) struct Kept(watch::Sender<Samples>);

#[derive(Debug, Default)]
struct Samples {
    waiting: VecDeque<Bytes>,
    /// How many were ever added: the number of the newest.
    added: u64,
    /// How many had to give way since this was last asked.
    dropped: u64,
}

impl Samples {
    /// The number of the oldest that waits, counted from 1.
    fn oldest(&self) -> u64 {
        self.added + 1 - self.waiting.len() as u64
    }

    /// The oldest that waits, with its number, if one newer than `than` was added.
    fn oldest_after(&self, than: u64) -> Option<(u64, Bytes)> {
        let sample = self.waiting.front().filter(|_| self.added > than)?;
        Some((self.oldest(), sample.clone()))
    }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Adds a sample. If there is no more room, the oldest gives way.
    pub(super) fn add(&self, sample: Bytes) {
        self.0.send_modify(|samples| {
            samples.waiting.push_back(sample);
            samples.added += 1;
            if samples.waiting.len() > MOST {
                samples.waiting.pop_front();
                samples.dropped += 1;
            }
        });
    }

    /// Waits for the oldest sample; while none newer than `than` was added, for that one.
    pub(super) async fn next(&self, than: u64) -> (u64, Bytes) {
        let mut changes = self.0.subscribe();
        loop {
            let next = changes.borrow_and_update().oldest_after(than);
            if let Some(next) = next {
                return next;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await; // The sender is `self`.
            }
        }
    }

    /// Lets go of the sample of this number, if it did not have to give way already.
    pub(super) fn done(&self, number: u64) {
        self.0.send_modify(|samples| {
            if samples.oldest() == number {
                samples.waiting.pop_front();
            }
        });
    }

    /// The number of the newest.
    pub(super) fn newest(&self) -> u64 {
        self.0.borrow().added
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    /// How many gave way since this was last asked.
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
    async fn samples_come_in_order_and_again_until_they_are_done() {
        let kept = Kept::new();
        assert!(kept.next(0).now_or_never().is_none());
        (1..=3).for_each(|number| kept.add(text(number)));
        assert_eq!(kept.next(0).await, (1, text(1)));
        assert_eq!(kept.next(0).await, (1, text(1)), "it was not acknowledged");
        kept.done(1);
        kept.done(1);
        assert_eq!(kept.next(0).await, (2, text(2)));
        assert_eq!(kept.count(), 2);
    }

    #[tokio::test]
    async fn one_may_wait_for_a_newer_one() {
        let kept = Kept::new();
        kept.add(text(1));
        assert!(kept.next(kept.newest()).now_or_never().is_none());
        let (next, ()) = tokio::join!(kept.next(1), async { kept.add(text(2)) });
        assert_eq!(next, (1, text(1)), "the oldest first, all the same");
    }

    #[tokio::test]
    async fn the_oldest_give_way_and_are_counted() {
        let kept = Kept::new();
        let most = MOST as u64;
        (1..=most + 7).for_each(|number| kept.add(text(number)));
        assert_eq!((kept.count(), kept.take_dropped(), kept.take_dropped()), (MOST, 7, 0));
        kept.done(7); // Sent before it gave way, acknowledged after: nobody else is let go of.
        assert_eq!(kept.next(0).await, (8, text(8)));
    }
}
