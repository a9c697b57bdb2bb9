//! Readings that other formats describe: a topic mapping finds the parts, this file makes the reading
//! and its id.

use chrono::{DateTime, SubsecRound, Utc};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::fields::{BootId, Fields};
use super::id::DeviceRef;
use super::invalid::InvalidReading;
use super::limits::Limits;
use super::reading::Reading;
use eventsourcing::fact;

/// The parts of a reading in another format.
#[derive(Debug, Clone, Copy)]
pub struct MappedParts<'a> {
    /// The device.
    pub device: DeviceRef<'a>,
    /// Sequence number, counted by the device; `None` if the format has none.
    pub sequence_id: Option<i64>,
    /// Id of the device's boot; empty if the format has none.
    pub boot_id: &'a str,
    /// Time of the measurement; `None` if the format has none.
    pub time: Option<DateTime<Utc>>,
    /// The values, as a JSON object. All names are the device's own, also those that a reading of
    /// Tributary's format gives a meaning: only `temperature` and `battery` are the fields of these
    /// names, where they are numbers.
    pub values: &'a str,
    /// The whole message: topic and payload. Part of the id if there is no sequence number.
    pub message: [&'a str; 2],
    /// What distinguishes two messages of the same content and is the same for every delivery of one.
    /// Part of the id if there is neither a sequence number nor a time.
    pub delivery: i64,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
}

impl MappedParts<'_> {
    /// Returns whether the message itself distinguishes the reading from all others of its device.
    pub fn is_identified(&self) -> bool {
        self.sequence_id.is_some() || self.time.is_some()
    }

    /// Makes the reading, with its event id. Without a sequence number, `sequence_id` is the time of
    /// the reading in microseconds, and the id is derived from the message and its time.
    ///
    /// # Errors
    /// Returns an error if the values exceed a limit or are not an object, or the time is out of range.
    pub fn reading(&self, limits: &Limits) -> Result<(Uuid, Reading), InvalidReading> {
        if self.values.len() > Reading::MAX_BYTES {
            return Err(InvalidReading::TooLarge);
        }
        let values: &RawValue =
            serde_json::from_str(self.values).map_err(InvalidReading::NotAReading)?;
        let fields = Fields {
            sequence_id: Some(self.sequence_id.unwrap_or_default()),
            boot_id: Some(BootId(self.boot_id.to_owned())),
            time: self.time.map(|time| time.trunc_subsecs(6)),
            ..Fields::of_values(values, limits)?
        };
        let (id, mut reading) = Reading::of(fields, Some(self.device), limits, self.received_at)?;
        if self.sequence_id.is_some() {
            return Ok((id, reading));
        }
        reading.sequence_id = reading.time.timestamp_micros();
        Ok((self.id(), reading))
    }

    fn id(&self) -> Uuid {
        let (user, device) = (self.device.user_id.as_str(), self.device.device_id.as_str());
        let [topic, payload] = self.message;
        let texts = ["mapped", user, device, self.boot_id, topic, payload];
        match self.time {
            Some(time) => fact::id(&texts, &[time.timestamp_micros()], time.timestamp_millis()),
            None => fact::id(&texts, &[self.delivery], self.delivery),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceId, UserId};
    use super::*;

    fn read(
        parts: impl Fn(MappedParts<'_>) -> MappedParts<'_>,
        values: &str,
    ) -> Result<(Uuid, Reading), InvalidReading> {
        let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
        let mapped = MappedParts {
            device: DeviceRef { user_id: &user_id, device_id: &device_id },
            sequence_id: None,
            boot_id: "",
            time: None,
            values,
            message: ["t", values],
            delivery: 7,
            received_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        };
        parts(mapped).reading(&Limits::DEFAULT)
    }

    #[test]
    fn every_name_is_the_devices_own() {
        let values = r#"{"time": 1, "user_id": "x", "sequence_id": "a", "boot_id": [],
            "temperature": {"tC": 20.5}, "battery": 87, "position": 3}"#;
        let (_, reading) = read(|parts| parts, values).unwrap();
        assert_eq!((reading.temperature, reading.extra_data.members().len()), (None, 6));
        assert_eq!(reading.extra_data.get("temperature"), Some(r#"{"tC": 20.5}"#));
        assert_eq!(reading.sequence_id, 1_700_000_000_000_000);
        let (_, reading) =
            read(|parts| parts, r#"{"temperature": 20.5, "battery": null}"#).unwrap();
        assert_eq!((reading.temperature, reading.extra_data.members().len()), (Some(20.5), 0));
    }

    #[test]
    fn the_id_is_derived_from_what_the_message_offers() {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0);
        let values = r#"{"x": 1}"#;
        let id = |sequence_id, time, delivery, values| {
            read(|parts| MappedParts { sequence_id, time, delivery, ..parts }, values).unwrap().0
        };
        // A sequence number decides alone, with the time if there is one.
        assert_eq!(id(Some(1), None, 1, values), id(Some(1), None, 2, r#"{"x": 2}"#));
        assert_ne!(id(Some(1), at(0), 1, values), id(Some(1), at(1), 1, values));
        // A time decides together with the content.
        assert_eq!(id(None, at(0), 1, values), id(None, at(0), 2, values));
        assert_ne!(id(None, at(0), 1, values), id(None, at(0), 1, r#"{"x": 2}"#));
        // Otherwise the delivery does, together with the content.
        assert_eq!(id(None, None, 1, values), id(None, None, 1, values));
        assert_ne!(id(None, None, 1, values), id(None, None, 2, values));
        // Ids are stored: these must never change.
        assert_eq!(
            [id(None, None, 1, values), id(None, at(0), 1, values)].map(|id| id.to_string()),
            ["00000000-0001-883f-b2a4-6310a30400c0", "018bcfe5-6800-8261-85c1-000cf452e172"]
        );
    }

    #[test]
    fn values_beyond_a_limit_are_refused() {
        let many: Vec<_> = (0..=64).map(|n| format!(r#""f{n}": {n}"#)).collect();
        for (values, code) in [
            (format!("{{{}}}", many.join(",")), "fields"),
            (format!(r#"{{"x": {}{}}}"#, "[".repeat(40), "]".repeat(40)), "depth"),
            ("[1]".to_owned(), "not_a_reading"),
        ] {
            assert_eq!(read(|parts| parts, &values).unwrap_err().code(), code, "{values}");
        }
        let late = DateTime::from_timestamp(4_102_444_800, 0);
        let refused = read(|parts| MappedParts { time: late, ..parts }, "{}").unwrap_err();
        assert_eq!(refused.code(), "time");
    }
}
