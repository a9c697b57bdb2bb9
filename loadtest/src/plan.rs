//! The schedule: which device sends which message when. Computed from a few numbers, so that a message
//! can be rebuilt whenever it is sent again, and waiting messages take no memory.

use std::time::Duration;

use rand::RngExt;
use rand::distr::Uniform;
use uuid::Uuid;

/// Length of a random run name, in characters.
const RUN_CHARACTERS: usize = 6;

/// The schedule of a run. Devices are numbered through, user by user; messages of a device from 0.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Part of every user's id, so that no two runs share a device.
    pub(crate) run: String,
    /// Boot id of every reading: distinguishes runs of the same name.
    pub(crate) boot: Uuid,
    pub(crate) users: u32,
    pub(crate) devices_per_user: u32,
    /// Messages a second and device.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    /// Names of a reading's fields.
    pub(crate) fields: Vec<String>,
}

impl Plan {
    /// The number of devices.
    pub(crate) fn devices(&self) -> u32 {
        self.users * self.devices_per_user
    }

    /// The number of messages of each device.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the total was checked to be small"
    )]
    pub(crate) fn messages(&self) -> u32 {
        (self.duration.as_secs_f64() * self.rate).round() as u32
    }

    /// The number of messages of all devices.
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.messages()) * u64::from(self.devices())
    }

    /// When a message is due, after the start. The devices are spread over the first interval, so
    /// that they do not all send at once.
    pub(crate) fn due(&self, device: u32, sequence: u32) -> Duration {
        let phase = f64::from(device) / f64::from(self.devices().max(1));
        Duration::from_secs_f64((f64::from(sequence) + phase) / self.rate)
    }

    /// The number of a device's messages that are due at a time after the start.
    pub(crate) fn due_by(&self, device: u32, elapsed: Duration) -> u32 {
        let guess = (elapsed.as_secs_f64() - self.due(device, 0).as_secs_f64()) * self.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; negative is none"
        )]
        let mut count = (guess as u32).min(self.messages());
        // The guess is rounded down, and floats are not exact.
        while count < self.messages() && self.due(device, count) <= elapsed {
            count += 1;
        }
        count
    }

    pub(crate) fn user_of(&self, device: u32) -> u32 {
        device / self.devices_per_user
    }

    /// The devices of one user.
    pub(crate) fn devices_of(&self, user: u32) -> std::ops::Range<u32> {
        user * self.devices_per_user..(user + 1) * self.devices_per_user
    }

    pub(crate) fn user_id(&self, user: u32) -> String {
        format!("load-{}-u{user}", self.run)
    }

    /// A device's id, unique within its user.
    pub(crate) fn device_id(&self, device: u32) -> String {
        format!("d{}", device % self.devices_per_user)
    }
}

/// A random run name.
pub(crate) fn random_run() -> String {
    let letters = Uniform::try_from(b'a'..=b'z').expect("the range is not empty");
    rand::rng().sample_iter(letters).take(RUN_CHARACTERS).map(char::from).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(users: u32, rate: f64, seconds: u64) -> Plan {
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
    fn every_message_is_due_at_its_time() {
        let plan = plan(30, 200.0, 60);
        assert_eq!((plan.devices(), plan.messages(), plan.total()), (90, 12_000, 1_080_000));
        assert_eq!(plan.due(0, 0), Duration::ZERO);
        assert_eq!(plan.due(0, 1), Duration::from_millis(5));
        assert_eq!(plan.due(45, 1), Duration::from_micros(7_500));
        assert!(plan.due(89, 11_999) < plan.duration + Duration::from_millis(5));
    }

    #[test]
    fn due_and_due_by_agree() {
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
