//! The ledger: what was sent and acknowledged on one page, what the log holds on the other, message
//! by message. Pure: it knows what is lost, not where to look for it.

use serde::Serialize;

use super::bits::Bits;
use super::queue::Sent;

/// Every message of the run.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By number.
    devices: Vec<Device>,
    /// Events beyond the first of the same message.
    duplicated: u64,
    /// Events of messages that nobody sent.
    unknown: u64,
}

#[derive(Debug, Default)]
struct Device {
    due: u32,
    sent: u32,
    acknowledged: Bits,
    stored: Bits,
}

/// What the pages add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sums {
    /// Messages, each counted once: due, whether it could be sent or not.
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// In the log, each counted once.
    pub(super) stored: u64,
    /// In the log another time.
    pub(super) duplicated: u64,
    /// Acknowledged, and not in the log.
    pub(super) lost: u64,
    /// Due, and not acknowledged in the end.
    pub(super) unacknowledged: u64,
    /// In the log, and never sent: not ours, or not what we sent.
    pub(super) unknown: u64,
}

impl Ledger {
    /// The senders' page.
    pub(super) fn new(sent: Vec<Sent>) -> Self {
        let mut devices: Vec<Device> = Vec::new();
        devices.resize_with(sent.len(), Device::default);
        for Sent { device, due, count: sent, acknowledged } in sent {
            let stored = Bits::new(sent);
            devices[device as usize] = Device { due, sent, acknowledged, stored };
        }
        Self { devices, duplicated: 0, unknown: 0 }
    }

    /// One event of the log.
    pub(super) fn stored(&mut self, device: u32, sequence: i64) {
        let device = self.devices.get_mut(device as usize);
        let sequence = u32::try_from(sequence).ok();
        match device.zip(sequence).filter(|(device, sequence)| *sequence < device.sent) {
            None => self.unknown += 1,
            Some((device, sequence)) => {
                self.duplicated += u64::from(!device.stored.add(sequence));
            }
        }
    }

    /// An event of one of our devices that is not of this run.
    pub(super) fn unknown(&mut self) {
        self.unknown += 1;
    }

    pub(super) fn sums(&self) -> Sums {
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

    /// Of two devices, eleven messages each were due and ten sent; of the second, all but the last are acknowledged.
    fn ledger() -> Ledger {
        let sent = |device, acknowledged: u32| {
            let mut bits = Bits::new(10);
            assert!((0..acknowledged).all(|sequence| bits.add(sequence)));
            Sent { device, due: 11, count: 10, acknowledged: bits }
        };
        // In whatever order the senders end.
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

    const WELL: Sums = Sums {
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
    fn what_was_not_acknowledged_may_be_stored_or_not() {
        assert_eq!(sums(all()), WELL);
        let without = all().into_iter().filter(|event| *event != (1, 9));
        assert_eq!(sums(without), Sums { stored: 19, ..WELL });
    }

    #[test]
    fn a_hole_is_a_loss() {
        let with_a_hole = all().into_iter().filter(|event| *event != (0, 4));
        assert_eq!(sums(with_a_hole), Sums { stored: 19, lost: 1, ..WELL });
        assert_eq!(sums([]), Sums { stored: 0, lost: 19, ..WELL });
    }

    #[test]
    fn a_double_is_no_cover_for_a_hole() {
        let events = all().into_iter().map(|event| if event == (0, 4) { (0, 5) } else { event });
        assert_eq!(sums(events), Sums { stored: 19, lost: 1, duplicated: 1, ..WELL });
    }

    #[test]
    fn what_nobody_sent_is_unknown() {
        let foreign = [(0, 10), (0, -1), (2, 0)];
        assert_eq!(sums(all().into_iter().chain(foreign)), Sums { unknown: 3, ..WELL });
    }
}
