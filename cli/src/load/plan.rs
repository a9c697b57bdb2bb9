//! Who sends what, and when: all of it follows from a few numbers, so that a message can be made
//! again whenever it has to be sent again, and nothing that waits takes memory.

use std::time::Duration;

use rand::RngExt;
use rand::distr::Uniform;
use uuid::Uuid;

/// Characters of a run's name, if none is given.
const RUN_CHARACTERS: usize = 6;

/// What a run is to do. Devices are counted through, user by user; messages of a device from 0.
#[derive(Debug)]
pub(super) struct Plan {
    /// Part of every user's id, so that no two runs share a device.
    pub(super) run: String,
    /// Part of every reading: a run of the same name is another one all the same.
    pub(super) boot: Uuid,
    pub(super) users: u32,
    pub(super) devices_per_user: u32,
    /// Messages a second and device.
    pub(super) rate: f64,
    pub(super) duration: Duration,
    /// What a reading holds.
    pub(super) fields: Vec<String>,
}

impl Plan {
    pub(super) fn devices(&self) -> u32 {
        self.users * self.devices_per_user
    }

    /// Messages of each device.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the total was checked to be small"
    )]
    pub(super) fn messages(&self) -> u32 {
        (self.duration.as_secs_f64() * self.rate).round() as u32
    }

    /// Messages of all devices.
    pub(super) fn total(&self) -> u64 {
        u64::from(self.messages()) * u64::from(self.devices())
    }

    /// When a message is due, after the start. The devices are spread over the first interval, or
    /// they would all send at once.
    pub(super) fn due(&self, device: u32, sequence: u32) -> Duration {
        let phase = f64::from(device) / f64::from(self.devices().max(1));
        Duration::from_secs_f64((f64::from(sequence) + phase) / self.rate)
    }

    /// How many messages of a device are due so long after the start.
    pub(super) fn due_by(&self, device: u32, elapsed: Duration) -> u32 {
        let guess = (elapsed.as_secs_f64() - self.due(device, 0).as_secs_f64()) * self.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; negative is none"
        )]
        let mut count = (guess as u32).min(self.messages());
        // Rounded down to begin with, and floats are not exact.
        while count < self.messages() && self.due(device, count) <= elapsed {
            count += 1;
        }
        count
    }

    pub(super) fn user_of(&self, device: u32) -> u32 {
        device / self.devices_per_user
    }

    /// The devices of one user.
    pub(super) fn devices_of(&self, user: u32) -> std::ops::Range<u32> {
        user * self.devices_per_user..(user + 1) * self.devices_per_user
    }

    pub(super) fn user_id(&self, user: u32) -> String {
        format!("load-{}-u{user}", self.run)
    }

    /// A device's name, which is its user's matter.
    pub(super) fn device_id(&self, device: u32) -> String {
        format!("d{}", device % self.devices_per_user)
    }
}

/// A name for a run that has none.
pub(super) fn random_run() -> String {
    let letters = Uniform::try_from(b'a'..=b'z').expect("the range is not empty");
    rand::rng().sample_iter(letters).take(RUN_CHARACTERS).map(char::from).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn plan(users: u32, rate: f64, seconds: u64) -> Plan {
        Plan {
            run: "t".into(),
            boot: Uuid::nil(),
            users,
            devices_per_user: 3,
            rate,
            duration: Duration::from_secs(seconds),
            fields: vec!["temperature".into(), "battery".into()],
        }
    }

    #[test]
    fn every_message_has_its_time() {
        let plan = plan(30, 200.0, 60);
        assert_eq!((plan.devices(), plan.messages(), plan.total()), (90, 12_000, 1_080_000));
        assert_eq!(plan.due(0, 0), Duration::ZERO);
        assert_eq!(plan.due(0, 1), Duration::from_millis(5));
        assert_eq!(plan.due(45, 1), Duration::from_micros(7_500));
        assert!(plan.due(89, 11_999) < plan.duration + Duration::from_millis(5));
    }

    #[test]
    fn what_is_due_and_when_say_the_same() {
        let plan = plan(7, 33.3, 9);
        for device in 0..plan.devices() {
            assert_eq!(plan.due_by(device, plan.duration * 2), plan.messages());
            for sequence in (0..plan.messages()).step_by(17) {
                let due = plan.due(device, sequence);
                assert_eq!(plan.due_by(device, due), sequence + 1);
                if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                    assert_eq!(plan.due_by(device, before), sequence);
                }
            }
        }
    }

    #[test]
    fn devices_belong_to_users() {
        let plan = plan(30, 1.0, 1);
        assert_eq!(plan.devices_of(7), 21..24);
        assert_eq!((plan.user_of(23), plan.device_id(23)), (7, "d2".into()));
        assert_eq!(plan.user_id(7), "load-t-u7");
    }
}
