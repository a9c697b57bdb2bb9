//! How long a consumer waits after a failure, and which events it suspects. Pure, so that it is tested
//! without a database.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;

use crate::RawEvent;

/// First and longest wait after a failure; each wait is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Starts at one position after which a consumer counts each attempt before it is made: an event
/// there probably kills the process.
const SUSPICIOUS_STARTS: i32 = 3;

/// Waits between the starts of a consumer.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: BACKOFF.0 }
    }
}

impl Backoff {
    /// Wait before the next start of a consumer that ran for `ran` before it failed. One that ran
    /// for longer than the longest wait starts over with the first.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran > BACKOFF.1 {
            *self = Self::default();
        }
        let wait = self.next;
        self.next = (wait * 2).min(BACKOFF.1);
        wait
    }
}

/// Whether a consumer that was started `starts` times without moving its checkpoint probably meets
/// an event that kills the process.
pub(super) fn is_suspicious(starts: i32) -> bool {
    starts > SUSPICIOUS_STARTS
}

/// Events up to a position.
pub(super) type Stretch<'e> = (&'e [Arc<RawEvent>], Position);

/// Both halves of a stretch that could not be written, the earlier one first. None if there is
/// nothing to halve: the failure is that of its only event.
pub(super) fn halves((events, through): Stretch<'_>) -> Option<[Stretch<'_>; 2]> {
    let (left, right) = events.split_at(events.len() / 2);
    let middle = left.last()?.position;
    Some([(left, middle), (right, through)])
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use eventsourcing::{StreamId, Version};
    use uuid::Uuid;

    use super::*;

    fn events(positions: std::ops::RangeInclusive<i64>) -> Vec<Arc<RawEvent>> {
        let event = |position| RawEvent {
            position: Position(position),
            id: Uuid::nil(),
            stream: StreamId::new("work", position),
            version: Version(1),
            event_type: "work_demanded".into(),
            schema_version: 1,
            data: "{}".into(),
            metadata: "{}".into(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        positions.map(event).map(Arc::new).collect()
    }

    #[test]
    fn waits_double_up_to_a_limit_and_start_over_after_a_long_run() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> =
            (0..8).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(Duration::from_secs(6)).as_millis(), 100);
    }

    #[test]
    fn the_fourth_start_at_one_position_is_suspicious() {
        assert!(!is_suspicious(3));
        assert!(is_suspicious(4));
    }

    #[test]
    fn halving_finds_every_event_and_leaves_no_position_out() {
        let events = events(11..=17);
        let through = Position(20);
        let mut stretches = vec![(&events[..], through)];
        let mut at = Position(10);
        let mut found = Vec::new();
        while let Some(stretch) = stretches.pop() {
            if let Some([left, right]) = halves(stretch) {
                stretches.extend([right, left]);
                continue;
            }
            found.push(stretch.0[0].position.0);
            assert!(stretch.1 > at, "each stretch ends after the one before");
            at = stretch.1;
        }
        assert_eq!(found, [11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(at, through);
        assert_eq!(halves((&[], through)), None);
    }
}
