//! Answers that wait for room in the publish window.

use std::collections::VecDeque;

use bytes::Bytes;
use mqtt::Ack;

use super::echo::Ignored;

/// Most bytes queued. A broker within the Receive Maximum never sends as many; some exceed it, and
/// at `QoS` 0 there is none.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Estimated memory of an answer besides its payload.
const OVERHEAD_BYTES: usize = 64;

/// Received messages in order, each with its answer. A message without one is queued for its
/// acknowledgement: these leave in the order of receipt [MQTT-4.6.0].
#[derive(Debug, Default)]
pub(super) struct EchoQueue {
    waiting: VecDeque<(Option<Ack>, Option<Bytes>)>,
    bytes: usize,
}

impl EchoQueue {
    /// Adds a message and its answer. Returns why there is none, which may be a full queue.
    pub(super) fn add(
        &mut self,
        ack: Option<Ack>,
        answer: Result<Bytes, Ignored>,
    ) -> Result<(), Ignored> {
        let answer = answer.and_then(|payload| {
            let bytes = self.bytes + OVERHEAD_BYTES + payload.len();
            if bytes > MAX_BYTES {
                return Err(Ignored::QueueFull);
            }
            self.bytes = bytes;
            // Copied: it would retain the read buffer.
            Ok(Bytes::copy_from_slice(&payload))
        });
        let (payload, outcome) = match answer {
            Ok(payload) => (Some(payload), Ok(())),
            Err(ignored) => (None, Err(ignored)),
        };
        if payload.is_some() || ack.is_some() {
            self.waiting.push_back((ack, payload));
        }
        outcome
    }

    /// Takes the oldest; one with an answer only if there is `room` for it.
    pub(super) fn next(&mut self, room: bool) -> Option<(Option<Ack>, Option<Bytes>)> {
        let oldest = self.waiting.pop_front_if(|(_, payload)| room || payload.is_none())?;
        if let Some(payload) = &oldest.1 {
            self.bytes -= OVERHEAD_BYTES + payload.len();
        }
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_in_order_and_their_bytes_are_bounded() {
        let mut queue = EchoQueue::default();
        let large = |first: u8| {
            let mut payload = vec![b'1'; 1024 * 1024];
            payload[0] = first;
            Ok(Bytes::from(payload))
        };
        let queued = (0..100).take_while(|n| queue.add(None, large(*n)).is_ok()).count();
        assert_eq!(queued, 7);
        assert_eq!(queue.add(None, large(7)), Err(Ignored::QueueFull));
        assert!(queue.next(false).is_none());
        let first =
            |queue: &mut EchoQueue| queue.next(true).and_then(|(_, answer)| Some(answer?[0]));
        assert_eq!(first(&mut queue), Some(0));
        assert_eq!(queue.add(None, large(7)), Ok(()), "there is room again");
        let others: Vec<_> = std::iter::from_fn(|| first(&mut queue)).collect();
        assert_eq!(others, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(queue.bytes, 0);
    }
}
