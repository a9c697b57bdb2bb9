//! A reading: its validation and its id.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fields::{Fields, Items, OPTIONAL};
use super::id::{DeviceId, DeviceRef, UserId};
use super::invalid::InvalidReading;
use super::limits::{self, Limits};
use eventsourcing::fact;
use eventsourcing::json::{self, Object};

/// Earliest time that is kept of an unset clock: 1970-01-01.
const FIRST_STORED: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// A reading: the values a device measured at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Id of the user.
    pub user_id: UserId,
    /// Id of the device.
    pub device_id: DeviceId,
    /// Sequence number, counted by the device.
    pub sequence_id: i64,
    /// Id of the device's boot, which distinguishes a restarted sequence from the previous one; empty
    /// if the device sends none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Time of the measurement by the device's clock, in microseconds; the time of receipt if the
    /// device sends none, or one that is unset.
    pub time: DateTime<Utc>,
    /// The time that the device sent, if its clock was not set: earlier than
    /// [`TimeWindow::earliest`](crate::TimeWindow::earliest). `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unset_time: Option<DateTime<Utc>>,
    /// Temperature in degrees, in the scale the owner uses; `None` if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Battery level in per cent; `None` if not measured.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "json::without_fraction"
    )]
    pub battery: Option<f64>,
    /// All other fields, with the digits of their numbers; within the [`Limits`] of the door that
    /// accepted the reading. Also `time`, `temperature` and `battery` if their value was not usable.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub extra_data: Object,
}

impl Reading {
    /// Maximum payload of one reading in bytes.
    pub const MAX_BYTES: usize = limits::MAX_BYTES;
    /// Maximum length of a boot id in bytes.
    pub const MAX_BOOT_ID_BYTES: usize = limits::MAX_BOOT_ID_BYTES;

    /// Parses the payload of a message on the topic of `device`, and returns the reading with its event
    /// id. The payload may name user and device.
    ///
    /// # Errors
    /// Returns an error if the payload is too large, is not a reading, names another device, or exceeds
    /// a limit.
    pub fn from_message(
        limits: &Limits,
        device: DeviceRef<'_>,
        payload: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Self), InvalidReading> {
        if payload.len() > Self::MAX_BYTES {
            return Err(InvalidReading::TooLarge);
        }
        Self::of(Fields::parse(payload, limits)?, Some(device), limits, received_at)
    }

    /// Makes the reading of `fields`, with its event id; of `device`, if it is given.
    pub(super) fn of(
        fields: Fields,
        device: Option<DeviceRef<'_>>,
        limits: &Limits,
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Self), InvalidReading> {
        let (user_id, device_id) = match device {
            Some(device) => {
                if fields.user_id.is_some_and(|id| *id != *device.user_id.as_str()) {
                    return Err(InvalidReading::OtherDevice("user_id"));
                }
                if fields.device_id.is_some_and(|id| *id != *device.device_id.as_str()) {
                    return Err(InvalidReading::OtherDevice("device_id"));
                }
                (device.user_id.clone(), device.device_id.clone())
            }
            None => (
                UserId::try_from(fields.user_id.ok_or(InvalidReading::Missing("user_id"))?)?,
                DeviceId::try_from(fields.device_id.ok_or(InvalidReading::Missing("device_id"))?)?,
            ),
        };
        let boot_id = fields.boot_id.map(|boot| boot.0).unwrap_or_default();
        if boot_id.len() > Self::MAX_BOOT_ID_BYTES {
            return Err(InvalidReading::BootId);
        }
        let given = fields.time.map(|time| time.max(FIRST_STORED));
        let unset_time = given.filter(|time| limits.time.is_unset(*time));
        let time = given.filter(|_| unset_time.is_none()).unwrap_or(received_at);
        limits.time.check(time, received_at)?;
        let reading = Self {
            user_id,
            device_id,
            sequence_id: fields.sequence_id.ok_or(InvalidReading::Missing("sequence_id"))?,
            boot_id,
            time,
            unset_time,
            temperature: fields.temperature,
            battery: fields.battery,
            extra_data: fields.extra_data,
        };
        Ok((reading.id(given), reading))
    }

    /// Returns the device.
    pub fn device(&self) -> DeviceRef<'_> {
        DeviceRef { user_id: &self.user_id, device_id: &self.device_id }
    }

    /// Returns the known fields whose value was not usable; `extra_data` has the value.
    pub fn unusable_fields(&self) -> impl Iterator<Item = &'static str> {
        let text = self.extra_data.as_str();
        // Hardly any reading has one, and a search is quicker than reading the members.
        let is_there = |field: &&str| text.contains(*field) && self.extra_data.get(field).is_some();
        OPTIONAL.into_iter().filter(is_there)
    }

    /// Derives the event id: user, device, boot, sequence number and, if the device sent one, time.
    fn id(&self, given: Option<DateTime<Utc>>) -> Uuid {
        let texts = [self.user_id.as_str(), self.device_id.as_str(), &self.boot_id];
        if let Some(time) = given {
            let (micros, millis) = (time.timestamp_micros(), time.timestamp_millis());
            fact::id(&texts, &[self.sequence_id, micros], millis)
        } else {
            // The time of receipt differs with each delivery; the sequence number does not.
            fact::id(&texts, &[self.sequence_id], self.sequence_id)
        }
    }
}

/// The items of a batch of readings: each a reading with its event id, or the reason it is refused.
#[derive(Debug)]
pub struct Batch(pub Vec<Result<(Uuid, Reading), InvalidReading>>);

impl Batch {
    /// Maximum number of readings in one batch.
    pub const MAX_ITEMS: usize = Items::MAX;

    /// Parses a JSON array of readings that name user and device.
    ///
    /// # Errors
    /// Returns an error if the payload is not an array or has more than [`Self::MAX_ITEMS`] items. An
    /// invalid item does not affect the others.
    pub fn from_json(
        limits: &Limits,
        payload: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<Self, InvalidReading> {
        let Items(items) = serde_json::from_slice(json::without_mark(payload))
            .map_err(InvalidReading::NotAReading)?;
        let readings = items.into_iter().map(|item| {
            if item.get().len() > Reading::MAX_BYTES {
                return Err(InvalidReading::TooLarge);
            }
            let fields = Fields::of(item, limits)?;
            Reading::of(fields, None, limits, received_at)
        });
        Ok(Self(readings.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn read(payload: &str) -> Result<(Uuid, Reading), InvalidReading> {
        let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
        let device = DeviceRef { user_id: &user_id, device_id: &device_id };
        Reading::from_message(&Limits::DEFAULT, device, payload.as_bytes(), now())
    }

    #[test]
    fn unknown_fields_are_kept_in_extra_data() {
        let (_, reading) =
            read(r#"{"sequence_id": 42, "temperature": 21.5, "battery": 87, "gps": {"lat": 1}}"#)
                .unwrap();
        assert_eq!(reading.temperature, Some(21.5));
        assert_eq!(reading.extra_data.get("gps"), Some(r#"{"lat": 1}"#));
        assert_eq!(reading.time, now());
    }

    #[test]
    fn both_formats_of_time_give_the_same_reading() {
        let text = read(r#"{"sequence_id": 1, "time": "2023-11-14T22:13:20Z"}"#).unwrap();
        let millis = read(r#"{"sequence_id": 1, "time": 1700000000000}"#).unwrap();
        assert_eq!(text, millis);
        let untimed = read(r#"{"sequence_id": 1}"#).unwrap();
        assert_ne!(text.0, untimed.0, "a time sent by the device is part of the id");
    }

    #[test]
    fn a_clock_that_is_not_set_gives_the_time_of_receipt_and_a_stable_id() {
        for time in [r#""1970-01-01T00:00:09Z""#, "946684800000", r#""2000-01-01T00:07:00+02:00""#]
        {
            let payload = format!(r#"{{"sequence_id": 1, "time": {time}}}"#);
            let (id, reading) = read(&payload).unwrap();
            assert_eq!(reading.time, now(), "{time}");
            let sent = reading.unset_time.unwrap();
            assert!(Limits::DEFAULT.time.is_unset(sent), "{time}");
            assert_eq!(read(&payload).unwrap().0, id, "a redelivery");
            let stored = serde_json::to_string(&reading).unwrap();
            assert_eq!(serde_json::from_str::<Reading>(&stored).unwrap(), reading);
            let later = payload.replace("\"sequence_id\": 1", "\"sequence_id\": 2");
            assert_ne!(read(&later).unwrap().0, id);
        }
        let (_, reading) = read(r#"{"sequence_id": 1, "time": -99999999999}"#).unwrap();
        assert_eq!(reading.unset_time, Some(DateTime::UNIX_EPOCH));
        let (_, set) = read(r#"{"sequence_id": 1, "time": "2010-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(set.unset_time, None);
    }

    #[test]
    fn an_invalid_reading_is_refused_with_the_reason() {
        for (payload, reason) in [
            ("nonsense", "not a reading"),
            (r#"{"temperature": 1}"#, "`sequence_id` is missing"),
            (r#"{"sequence_id": "x"}"#, "not a reading"),
            (r#"{"sequence_id": 1, "time": 4102444800000}"#, "more than 1d ahead"),
            (r#"{"sequence_id": 1, "device_id": "other"}"#, "another device"),
            (r#"{"sequence_id": 42.5}"#, "`/sequence_id`: must be a whole number"),
            (r#"{"sequence_id": 1, "boot_id": [1]}"#, "`/boot_id`: must be a text"),
            (r#"{"sequence_id": 1, "a": {"b": 1, "b": 2}}"#, "`/a/b`: duplicate member"),
            (r#"{"sequence_id": 1, "time": null, "time": 7}"#, "`/time`: duplicate member"),
            (r#"{"sequence_id": 1, "a": ["\ud800"]}"#, "`/a/0`: a text has a lone surrogate"),
            (r#"{"sequence_id": 1, "a": "\u0000"}"#, "`/a`: must not contain"),
            (r#"{"sequence_id": 1, "a": 1e309}"#, "`/a`: the number is out of range"),
            (r"[1]", "JSON object"),
        ] {
            let error = read(payload).unwrap_err().to_string();
            assert!(error.contains(reason), "{payload}: {error}");
        }
    }

    #[test]
    fn an_invalid_item_does_not_affect_its_batch() {
        let items = r#"[{"user_id":"u","device_id":"d","sequence_id":1}, 7, {"user_id":"u"}]"#;
        let batch = |items: &str| Batch::from_json(&Limits::DEFAULT, items.as_bytes(), now());
        let Batch(verdicts) = batch(items).unwrap();
        assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
        let many = format!("[{}1]", "1,".repeat(Batch::MAX_ITEMS));
        assert!(batch(&many).is_err());
        let large = format!(r#"[{{"note": "{}"}}]"#, "x".repeat(Reading::MAX_BYTES));
        assert!(matches!(batch(&large).unwrap().0[..], [Err(InvalidReading::TooLarge)]));
    }

    fn nested(levels: usize) -> String {
        format!(r#"{{"sequence_id": 1, "x": {}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_with_the_limit() {
        let Limits { depth, fields, name_bytes, .. } = Limits::DEFAULT;
        let named = |bytes| format!(r#"{{"sequence_id": 1, "x": {{"{}": 1}}}}"#, "n".repeat(bytes));
        let many = |count| {
            let fields =
                (0..count).map(|n| format!(r#", "f{n}": {n}"#)).collect::<Vec<_>>().concat();
            format!(r#"{{"sequence_id": 1{fields}}}"#)
        };
        for (fits, exceeds, code, reason) in [
            (nested(depth - 1), nested(depth), "depth", "deeper than 32 levels"),
            (named(name_bytes), named(name_bytes + 1), "name", "longer than 200 bytes"),
            (many(fields), many(fields + 1), "fields", "at most 64 further fields"),
        ] {
            assert!(read(&fits).is_ok(), "{fits}");
            let error = read(&exceeds).unwrap_err();
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(read(&nested(127)).unwrap_err().code(), "depth");
    }

    #[test]
    fn the_widest_reading_of_the_widest_limits_can_be_recorded() {
        let limits = Limits {
            depth: Limits::MAX_DEPTH,
            fields: Limits::MAX_FIELDS,
            name_bytes: Limits::MAX_NAME_BYTES,
            ..Limits::DEFAULT
        };
        let payload = nested(limits.depth - 1);
        let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
        let device = DeviceRef { user_id: &user_id, device_id: &device_id };
        let (_, reading) =
            Reading::from_message(&limits, device, payload.as_bytes(), now()).unwrap();
        eventsourcing::event::encode(&crate::telemetry::Event::ReadingRecorded(reading)).unwrap();
    }

    #[test]
    fn a_private_name_of_serde_json_is_a_field_like_any_other() {
        let payload =
            r#"{"sequence_id": 1, "x": {"$serde_json::private::RawValue": "[1", "y": 2}}"#;
        let (_, reading) = read(payload).unwrap();
        let value = r#"{"$serde_json::private::RawValue": "[1", "y": 2}"#;
        assert_eq!(reading.extra_data.get("x"), Some(value));
        let stored = serde_json::to_string(&reading).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&stored).unwrap(), reading);
    }

    /// Encodes the reading as the log stores it.
    fn stored(payload: &str) -> String {
        serde_json::to_string(&read(payload).unwrap().1).unwrap()
    }

    #[test]
    fn a_number_may_have_a_fraction_and_keeps_its_digits() {
        let payload = r#"{"sequence_id": 42.0, "battery": 68.5, "temperature": 21, "boot_id": 7.0,
            "time": 1.7e12, "iccid": 89490200001234567891, "x": [1.50, 2.5e-10]}"#;
        let (_, reading) = read(payload).unwrap();
        assert_eq!((reading.sequence_id, reading.boot_id.as_str()), (42, "7"));
        assert_eq!((reading.temperature, reading.battery), (Some(21.0), Some(68.5)));
        assert_eq!(reading.time, now());
        let extra = r#"{"iccid":89490200001234567891,"x":[1.50, 2.5e-10]}"#;
        assert_eq!(reading.extra_data.as_str(), extra);
        assert!(stored(payload).ends_with(&format!(r#""battery":68.5,"extra_data":{extra}}}"#)));
        // As before a battery could have a fraction.
        assert!(stored(r#"{"sequence_id": 1, "battery": 87.0}"#).ends_with(r#""battery":87}"#));
    }

    #[test]
    fn an_unusable_value_is_kept_and_loses_no_other() {
        let payload = r#"{"sequence_id": 1, "temperature": "hot", "battery": 1e999, "time": "noon",
            "humidity": 40}"#;
        let (_, reading) = read(payload).unwrap();
        assert_eq!((reading.time, reading.temperature, reading.battery), (now(), None, None));
        let extra = r#"{"temperature":"hot","battery":"1e999","time":"noon","humidity":40}"#;
        assert_eq!(reading.extra_data.as_str(), extra);
        assert_eq!(
            reading.unusable_fields().collect::<Vec<_>>(),
            ["time", "temperature", "battery"]
        );
        let full: Vec<_> = (0..Limits::DEFAULT.fields).map(|n| format!(r#""f{n}": {n}"#)).collect();
        let payload = format!(r#"{{"sequence_id": 1, "battery": [true], {}}}"#, full.join(","));
        assert!(read(&payload).is_ok(), "it does not count as a further field");
        let missing = read(r#"{"sequence_id": 1, "battery": null}"#).unwrap().1;
        assert!(missing.extra_data.is_empty() && missing.unusable_fields().count() == 0);
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let plain = r#"{"sequence_id": 1}"#;
        assert_eq!(read(&format!("\u{feff}{plain}")).unwrap(), read(plain).unwrap());
        let batch = Batch::from_json(&Limits::DEFAULT, "\u{feff}[]".as_bytes(), now());
        assert!(batch.unwrap().0.is_empty());
    }

    proptest! {
        #[test]
        fn different_readings_have_different_ids(a: i64, b: i64, boot in "[a-z]{0,8}") {
            let id = |sequence: i64, boot: &str| {
                read(&format!(r#"{{"sequence_id": {sequence}, "boot_id": "{boot}"}}"#)).unwrap().0
            };
            prop_assert_eq!(id(a, &boot), id(a, &boot));
            prop_assert_eq!(id(a, &boot) == id(b, &boot), a == b);
            prop_assert_ne!(id(a, &boot), id(a, &format!("{boot}x")));
        }
    }
}
