//! The ledger: compares what was sent and acknowledged with what the log holds, message by message.
//! Pure.

use serde::Serialize;

use super::bitset::BitSet;
use super::queue::Sent;

/// Every message of the run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By number.
    devices: Vec<Device>,
    /// Events beyond the first of the same message.
    duplicated: u64,
    /// Events of messages that were never sent.
    unknown: u64,
}

#[derive(Debug, Default)]
struct Device {
    due: u32,
    sent: u32,
    acknowledged: BitSet,
    stored: BitSet,
}

/// The sums of a ledger. Except for `duplicated` and `unknown`, each message counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Messages due, whether they could be sent or not.
    pub due: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages in the log.
    pub stored: u64,
    /// Events in the log beyond the first of a message.
    pub duplicated: u64,
    /// Messages acknowledged and not in the log.
    pub lost: u64,
    /// Messages due and not acknowledged at the end.
    pub unacknowledged: u64,
    /// Events in the log of messages that were never sent.
    pub unknown: u64,
}

impl Ledger {
    /// A ledger of what the senders sent, in any order.
    pub(crate) fn new(sent: Vec<Sent>) -> Self {
        let mut devices: Vec<Device> = Vec::new();
        devices.resize_with(sent.len(), Device::default);
        for Sent { device, due, count: sent, acknowledged } in sent {
            let stored = BitSet::new(sent);
            devices[device as usize] = Device { due, sent, acknowledged, stored };
        }
        Self { devices, duplicated: 0, unknown: 0 }
    }

    /// Records an event of the log.
    pub(crate) fn stored(&mut self, device: u32, sequence: i64) {
        let device = self.devices.get_mut(device as usize);
        let sequence = u32::try_from(sequence).ok();
        match device.zip(sequence).filter(|(device, sequence)| *sequence < device.sent) {
            None => self.unknown += 1,
            Some((device, sequence)) => {
                self.duplicated += u64::from(!device.stored.add(sequence));
            }
        }
    }

    /// Records an event of one of the devices that is not of this run.
    pub(crate) fn unknown(&mut self) {
        self.unknown += 1;
    }

    /// The sums.
    pub(crate) fn sums(&self) -> Sums {
        let mut sums =
            Sums { duplicated: self.duplicated, unknown: self.unknown, ..Sums::default() };
        for Device { due, sent, acknowledged, stored } in &self.devices {
            sums.due += u64::from(*due);
            sums.sent += u64::from(*sent);
            sums.acknowledged += acknowledged.count();
            sums.stored += stored.count();
            sums.lost += acknowledged.missing_in(stored);
        }
        sums.unacknowledged = sums.due - sums.acknowledged;
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two devices: of each, eleven messages were due and ten sent. Of the second, all but the last are
    /// acknowledged.
    fn ledger() -> Ledger {
        let sent = |device, acknowledged: u32| {
            let mut bits = BitSet::new(10);
            assert!((0..acknowledged).all(|sequence| bits.add(sequence)));
            Sent { device, due: 11, count: 10, acknowledged: bits }
        };
        Ledger::new(vec![sent(1, 9), sent(0, 10)])
    }

    fn sums(stored: impl IntoIterator<Item = (u32, i64)>) -> Sums {
        let mut ledger = ledger();
        stored.into_iter().for_each(|(device, sequence)| ledger.stored(device, sequence));
        ledger.sums()
    }

    fn all() -> Vec<(u32, i64)> {
        (0..2).flat_map(|device| (0..10).map(move |sequence| (device, sequence))).collect()
    }

    const SOUND: Sums = Sums {
        due: 22,
        sent: 20,
        acknowledged: 19,
        stored: 20,
        duplicated: 0,
        lost: 0,
        unacknowledged: 3,
        unknown: 0,
    };

    #[test]
    fn an_unacknowledged_message_may_be_stored_or_not() {
        assert_eq!(sums(all()), SOUND);
        let without = all().into_iter().filter(|event| *event != (1, 9));
        assert_eq!(sums(without), Sums { stored: 19, ..SOUND });
    }

    #[test]
    fn an_acknowledged_message_that_is_not_stored_is_lost() {
        let with_a_hole = all().into_iter().filter(|event| *event != (0, 4));
        assert_eq!(sums(with_a_hole), Sums { stored: 19, lost: 1, ..SOUND });
        assert_eq!(sums([]), Sums { stored: 0, lost: 19, ..SOUND });
    }

    #[test]
    fn a_duplicate_does_not_compensate_for_a_loss() {
        let events = all().into_iter().map(|event| if event == (0, 4) { (0, 5) } else { event });
        assert_eq!(sums(events), Sums { stored: 19, lost: 1, duplicated: 1, ..SOUND });
    }

    #[test]
    fn an_event_that_was_never_sent_is_unknown() {
        let foreign = [(0, 10), (0, -1), (2, 0)];
        assert_eq!(sums(all().into_iter().chain(foreign)), Sums { unknown: 3, ..SOUND });
    }
}
