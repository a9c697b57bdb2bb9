//! Answers that wait for the broker's leave to be published.

use std::collections::VecDeque;

use bytes::Bytes;

use super::echo::Ignored;

/// Bytes that wait at most. A broker that keeps to our receive maximum never sends as many; some do
/// not, and at service level 0 there is none.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// What an answer takes beside its own bytes, roughly.
const OVERHEAD_BYTES: usize = 64;

/// Answers, in the order of what they answer; each with the packet that is acknowledged with it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<(Option<u16>, Bytes)>,
    bytes: usize,
}

impl Answers {
    /// Adds one, if there is room.
    pub(super) fn add(&mut self, acknowledge: Option<u16>, payload: &[u8]) -> Result<(), Ignored> {
        let bytes = self.bytes + OVERHEAD_BYTES + payload.len();
        if bytes > MOST_BYTES {
            return Err(Ignored::TooMany);
        }
        self.bytes = bytes;
        // Copied: it would hold on to the buffer it was read from.
        self.waiting.push_back((acknowledge, Bytes::copy_from_slice(payload)));
        Ok(())
    }

    /// Takes the oldest.
    pub(super) fn next(&mut self) -> Option<(Option<u16>, Bytes)> {
        let oldest = self.waiting.pop_front()?;
        self.bytes -= OVERHEAD_BYTES + oldest.1.len();
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_are_not_held_without_bound() {
        let mut answers = Answers::default();
        let large = vec![b'1'; 1024 * 1024];
        let taken = (0..100).take_while(|n| answers.add(Some(*n), &large).is_ok()).count();
        assert_eq!(taken, 7);
        assert_eq!(answers.add(None, &large), Err(Ignored::TooMany));
        assert_eq!(answers.next().map(|(id, answer)| (id, answer.len())), Some((Some(0), 1 << 20)));
        assert_eq!(answers.add(None, &large), Ok(()), "there is room again");
        let ids: Vec<_> = std::iter::from_fn(|| answers.next()).map(|(id, _)| id).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), None]);
        assert_eq!(answers.bytes, 0);
    }
}
