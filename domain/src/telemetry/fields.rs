//! The members of a reading message, as they are parsed.

use std::cell::Cell;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::invalid::InvalidReading;
use super::limits::Limits;
use eventsourcing::json::Within;

/// The fields of a reading message: the known ones, and all others together.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) user_id: Option<Box<str>>,
    pub(super) device_id: Option<Box<str>>,
    pub(super) sequence_id: Option<i64>,
    pub(super) boot_id: Option<BootId>,
    pub(super) time: Option<Time>,
    pub(super) temperature: Option<f64>,
    pub(super) battery: Option<i32>,
    pub(super) extra_data: Map<String, Value>,
}

impl Fields {
    /// Parses a message.
    pub(super) fn parse(json: &[u8], limits: &Limits) -> Result<Self, InvalidReading> {
        let exceeded = Cell::new(None);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let fields = Seed(Within::new(limits.bounds(), &exceeded)).deserialize(&mut reader);
        let fields = fields.and_then(|fields| reader.end().map(|()| fields));
        fields.map_err(|error| match exceeded.get() {
            Some(exceeded) => InvalidReading::Exceeds(exceeded),
            None => InvalidReading::NotAReading(error),
        })
    }
}

/// Decodes the fields within bounds. Written by hand because `#[serde(flatten)]` buffers every field and
/// is three times slower.
struct Seed<'a>(Within<'a>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the fields of a reading")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let inner = self.0.enter()?;
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
                    self.0.name(&name)?;
                    fields.extra_data.insert(name, map.next_value_seed(inner)?);
                }
            }
        }
        Ok(fields)
    }
}

/// The items of a batch, not yet parsed, so that an invalid item does not affect the others.
pub(super) struct Items(pub(super) Vec<Box<serde_json::value::RawValue>>);

impl Items {
    /// Maximum number of items.
    pub(super) const MAX: usize = 1000;
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {} readings", Items::MAX)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while items.len() < Items::MAX {
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
pub(super) struct Time(pub(super) DateTime<Utc>);

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
