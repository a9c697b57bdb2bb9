//! A reading, what makes it valid, and what makes it the same reading.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::id::{DeviceId, DeviceRef, InvalidId, UserId};
use eventsourcing::fact;

/// What a device measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub user_id: UserId,
    pub device_id: DeviceId,
    /// The device's own counter.
    pub sequence_id: i64,
    /// Tells a restarted counter from the one before; empty when the device does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// When it was measured, by the device's clock; when it arrived, if the device has none.
    pub time: DateTime<Utc>,
    /// Degrees, in whatever scale the owner uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<i32>,
    /// Every further field, as it came.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra_data: Map<String, Value>,
}

impl Reading {
    /// Largest payload of one reading, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;
    /// Most further fields in one reading.
    pub const MAX_EXTRA_FIELDS: usize = 64;
    /// Longest boot id, in bytes.
    pub const MAX_BOOT_ID_BYTES: usize = 64;
    /// How far a device's clock may run ahead of ours, in hours. Partitions are made by time.
    pub const MAX_HOURS_AHEAD: i64 = 24;
    /// Readings before this second of the epoch (2000-01-01) come from a clock that was never set.
    pub const EARLIEST: i64 = 946_684_800;

    /// Reads the payload of a device's own topic.
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

    /// Whose reading it is.
    pub fn device(&self) -> DeviceRef<'_> {
        DeviceRef { user_id: &self.user_id, device_id: &self.device_id }
    }

    /// Names the reading after what identifies it.
    fn id(&self, time_is_given: bool) -> Uuid {
        let texts = [self.user_id.as_str(), self.device_id.as_str(), &self.boot_id];
        if time_is_given {
            let (micros, millis) = (self.time.timestamp_micros(), self.time.timestamp_millis());
            fact::id(&texts, &[self.sequence_id, micros], millis)
        } else {
            // Only the counter grows, and will be the same next time.
            fact::id(&texts, &[self.sequence_id], self.sequence_id)
        }
    }
}

/// Readings that came together, each with its own verdict.
#[derive(Debug)]
pub struct Batch(pub Vec<Result<(Uuid, Reading), InvalidReading>>);

impl Batch {
    /// Most readings in one batch.
    pub const MAX_ITEMS: usize = 1000;

    /// Reads an array of readings that name their device themselves.
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

/// StatusReason a message is not a reading.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReading {
    #[error("a reading is at most {} bytes", Reading::MAX_BYTES)]
    TooLarge,
    #[error("not a reading: {0}")]
    NotAReading(serde_json::Error),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("{0}")]
    Id(#[from] InvalidId),
    #[error(
        "`time` is more than {} hours ahead, or before the year 2000",
        Reading::MAX_HOURS_AHEAD
    )]
    Time,
    #[error("`{0}` names another device than the topic")]
    OtherDevice(&'static str),
    #[error("`boot_id` is at most {} bytes", Reading::MAX_BOOT_ID_BYTES)]
    BootId,
}

/// A reading's fields as they come: known ones by name, all others together.
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

/// Written by hand: `#[serde(flatten)]` buffers every field first and costs three times as much.
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

/// The items of a batch, unread, so that one bad item does not spoil the others.
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

/// RFC 3339 text, or milliseconds since the epoch; kept to the microsecond, as Postgres does.
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

/// Text or a number; both are common for boot counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootId(pub String);

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
    fn further_fields_are_kept() {
        let (_, reading) =
            read(r#"{"sequence_id": 42, "temperature": 21.5, "battery": 87, "gps": {"lat": 1}}"#)
                .unwrap();
        assert_eq!(reading.temperature, Some(21.5));
        assert_eq!(reading.extra_data["gps"]["lat"], 1);
        assert_eq!(reading.time, now());
    }

    #[test]
    fn both_forms_of_time_mean_the_same_reading() {
        let text = read(r#"{"sequence_id": 1, "time": "2023-11-14T22:13:20Z"}"#).unwrap();
        let millis = read(r#"{"sequence_id": 1, "time": 1700000000000}"#).unwrap();
        assert_eq!(text, millis);
        let untimed = read(r#"{"sequence_id": 1}"#).unwrap();
        assert_ne!(text.0, untimed.0, "a time given is part of the identity");
    }

    #[test]
    fn what_is_not_a_reading_says_why() {
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
    fn one_bad_item_does_not_spoil_its_batch() {
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
