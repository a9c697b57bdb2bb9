//! A reading: its validation and its id.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::id::{DeviceId, DeviceRef, InvalidId, UserId};
use eventsourcing::fact;

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
    /// device sends none.
    pub time: DateTime<Utc>,
    /// Temperature in degrees, in the scale the owner uses; `None` if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Battery level in per cent; `None` if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<i32>,
    /// All other fields, unchanged; at most [`Self::MAX_EXTRA_FIELDS`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra_data: Map<String, Value>,
}

impl Reading {
    /// Maximum payload of one reading in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// Maximum number of fields in `extra_data`.
    pub const MAX_EXTRA_FIELDS: usize = 64;
    /// Maximum length of a boot id in bytes.
    pub const MAX_BOOT_ID_BYTES: usize = 64;
    /// Maximum time a reading may lie after its receipt, in hours. Partitions are created by time.
    pub const MAX_HOURS_AHEAD: i64 = 24;
    /// Earliest accepted time of a reading in epoch seconds (2000-01-01); an earlier one comes from a
    /// clock that was never set.
    pub const EARLIEST: i64 = 946_684_800;

    /// Parses the payload of a message on the topic of `device`, and returns the reading with its event
    /// id. The payload may name user and device.
    ///
    /// # Errors
    /// Returns an error if the payload is too large, is not a reading, names another device, or a
    /// value is out of range.
    pub fn from_message(
        device: DeviceRef<'_>,
        payload: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Self), InvalidReading> {
        if payload.len() > Self::MAX_BYTES {
            return Err(InvalidReading::TooLarge);
        }
        let fields: Fields =
            serde_json::from_slice(payload).map_err(InvalidReading::NotAReading)?;
        fields.into_reading(Some(device), received_at)
    }

    /// Returns the device.
    pub fn device(&self) -> DeviceRef<'_> {
        DeviceRef { user_id: &self.user_id, device_id: &self.device_id }
    }

    /// Derives the event id: user, device, boot, sequence number and, if the device sent one, time.
    fn id(&self, time_is_given: bool) -> Uuid {
        let texts = [self.user_id.as_str(), self.device_id.as_str(), &self.boot_id];
        if time_is_given {
            let (micros, millis) = (self.time.timestamp_micros(), self.time.timestamp_millis());
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
    pub const MAX_ITEMS: usize = 1000;

    /// Parses a JSON array of readings that name user and device.
    ///
    /// # Errors
    /// Returns an error if the payload is not an array or has more than [`Self::MAX_ITEMS`] items. An
    /// invalid item does not affect the others.
    pub fn from_json(payload: &[u8], received_at: DateTime<Utc>) -> Result<Self, InvalidReading> {
        let items: Items = serde_json::from_slice(payload).map_err(InvalidReading::NotAReading)?;
        let readings = items.0.into_iter().map(|item| {
            let fields: Fields =
                serde_json::from_str(item.get()).map_err(InvalidReading::NotAReading)?;
            fields.into_reading(None, received_at)
        });
        Ok(Self(readings.collect()))
    }
}

/// Why a message is not a reading.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReading {
    /// The payload is larger than [`Reading::MAX_BYTES`].
    #[error("a reading is at most {} bytes", Reading::MAX_BYTES)]
    TooLarge,
    /// The payload is not JSON, or a field has the wrong type.
    #[error("not a reading: {0}")]
    NotAReading(serde_json::Error),
    /// The named field is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// The user or device id is invalid.
    #[error("{0}")]
    Id(#[from] InvalidId),
    /// The time is too early or too late.
    #[error(
        "`time` is more than {} hours ahead, or before the year 2000",
        Reading::MAX_HOURS_AHEAD
    )]
    Time,
    /// The named field differs from the topic.
    #[error("`{0}` names another device than the topic")]
    OtherDevice(&'static str),
    /// The boot id is longer than [`Reading::MAX_BOOT_ID_BYTES`].
    #[error("`boot_id` is at most {} bytes", Reading::MAX_BOOT_ID_BYTES)]
    BootId,
}

/// The fields of a reading message: the known ones, and all others together.
#[derive(Default)]
struct Fields {
    user_id: Option<Box<str>>,
    device_id: Option<Box<str>>,
    sequence_id: Option<i64>,
    boot_id: Option<BootId>,
    time: Option<Time>,
    temperature: Option<f64>,
    battery: Option<i32>,
    extra_data: Map<String, Value>,
}

impl Fields {
    fn into_reading(
        self,
        device: Option<DeviceRef<'_>>,
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Reading), InvalidReading> {
        let (user_id, device_id) = match device {
            Some(device) => {
                if self.user_id.is_some_and(|id| *id != *device.user_id.as_str()) {
                    return Err(InvalidReading::OtherDevice("user_id"));
                }
                if self.device_id.is_some_and(|id| *id != *device.device_id.as_str()) {
                    return Err(InvalidReading::OtherDevice("device_id"));
                }
                (device.user_id.clone(), device.device_id.clone())
            }
            None => (
                UserId::try_from(self.user_id.ok_or(InvalidReading::Missing("user_id"))?)?,
                DeviceId::try_from(self.device_id.ok_or(InvalidReading::Missing("device_id"))?)?,
            ),
        };
        let boot_id = self.boot_id.map(|boot| boot.0).unwrap_or_default();
        if boot_id.len() > Reading::MAX_BOOT_ID_BYTES {
            return Err(InvalidReading::BootId);
        }
        let time = self.time.as_ref().map_or(received_at, |time| time.0);
        let latest = received_at.timestamp() + Reading::MAX_HOURS_AHEAD * 3600;
        if !(Reading::EARLIEST..=latest).contains(&time.timestamp()) {
            return Err(InvalidReading::Time);
        }
        let reading = Reading {
            user_id,
            device_id,
            sequence_id: self.sequence_id.ok_or(InvalidReading::Missing("sequence_id"))?,
            boot_id,
            time,
            temperature: self.temperature,
            battery: self.battery,
            extra_data: self.extra_data,
        };
        Ok((reading.id(self.time.is_some()), reading))
    }
}

/// Implemented by hand because `#[serde(flatten)]` buffers every field and is three times slower.
impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object with the fields of a reading")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "user_id" => fields.user_id = map.next_value()?,
                        "device_id" => fields.device_id = map.next_value()?,
                        "sequence_id" => fields.sequence_id = map.next_value()?,
                        "boot_id" => fields.boot_id = map.next_value()?,
                        "time" => fields.time = map.next_value()?,
                        "temperature" => fields.temperature = map.next_value()?,
                        "battery" => fields.battery = map.next_value()?,
                        _ => {
                            fields.extra_data.insert(name, map.next_value()?);
                        }
                    }
                }
                if fields.extra_data.len() > Reading::MAX_EXTRA_FIELDS {
                    let limit = Reading::MAX_EXTRA_FIELDS;
                    return Err(serde::de::Error::custom(format_args!(
                        "a reading has at most {limit} further fields"
                    )));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The items of a batch, not yet parsed, so that an invalid item does not affect the others.
struct Items(Vec<Box<serde_json::value::RawValue>>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {} readings", Batch::MAX_ITEMS)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while items.len() < Batch::MAX_ITEMS {
                    let Some(item) = seq.next_element()? else {
                        return Ok(Items(items));
                    };
                    items.push(item);
                }
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(Items(items)),
                    Some(_) => Err(serde::de::Error::invalid_length(items.len() + 1, &self)),
                }
            }
        }

        deserializer.deserialize_seq(ItemsVisitor)
    }
}

/// A time: RFC 3339 text or epoch milliseconds. Truncated to microseconds, the precision of Postgres.
struct Time(DateTime<Utc>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`time` is RFC 3339 text or epoch milliseconds")]
        enum Form {
            Text(DateTime<Utc>),
            Milliseconds(i64),
        }
        let micros = match Form::deserialize(deserializer)? {
            Form::Text(time) => time.timestamp_micros(),
            Form::Milliseconds(millis) => millis.saturating_mul(1000),
        };
        DateTime::from_timestamp_micros(micros)
            .map(Time)
            .ok_or_else(|| serde::de::Error::custom("`time` is out of range"))
    }
}

/// A boot id: text, or a whole number that is converted to text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootId(
    /// The id as text.
    pub String,
);

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`boot_id` is text or a whole number")]
        enum Form {
            Text(String),
            Number(i64),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => Self(text),
            Form::Number(number) => Self(number.to_string()),
        })
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
        Reading::from_message(device, payload.as_bytes(), now())
    }

    #[test]
    fn unknown_fields_are_kept_in_extra_data() {
        let (_, reading) =
            read(r#"{"sequence_id": 42, "temperature": 21.5, "battery": 87, "gps": {"lat": 1}}"#)
                .unwrap();
        assert_eq!(reading.temperature, Some(21.5));
        assert_eq!(reading.extra_data["gps"]["lat"], 1);
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
    fn an_invalid_reading_is_refused_with_the_reason() {
        for (payload, reason) in [
            ("nonsense", "not a reading"),
            (r#"{"temperature": 1}"#, "`sequence_id` is missing"),
            (r#"{"sequence_id": "x"}"#, "not a reading"),
            (r#"{"sequence_id": 1, "time": "1970-01-01T00:00:00Z"}"#, "before the year 2000"),
            (r#"{"sequence_id": 1, "time": 4102444800000}"#, "hours ahead"),
            (r#"{"sequence_id": 1, "device_id": "other"}"#, "another device"),
            (r#"{"sequence_id": 1, "temperature": "hot"}"#, "not a reading"),
            (r"[1]", "JSON object"),
        ] {
            let error = read(payload).unwrap_err().to_string();
            assert!(error.contains(reason), "{payload}: {error}");
        }
    }

    #[test]
    fn an_invalid_item_does_not_affect_its_batch() {
        let items = r#"[{"user_id":"u","device_id":"d","sequence_id":1}, 7, {"user_id":"u"}]"#;
        let Batch(verdicts) = Batch::from_json(items.as_bytes(), now()).unwrap();
        assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
        let many = format!("[{}1]", "1,".repeat(Batch::MAX_ITEMS));
        assert!(Batch::from_json(many.as_bytes(), now()).is_err());
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
