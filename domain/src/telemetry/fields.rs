//! The members of a reading message, as they are parsed.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use eventsourcing::json::{self, Name, Numbers, Object, Reason, Scan};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::invalid::InvalidReading;
use super::limits::Limits;

/// The fields of a reading message: the known ones, and all others together.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) user_id: Option<Box<str>>,
    pub(super) device_id: Option<Box<str>>,
    pub(super) sequence_id: Option<i64>,
    pub(super) boot_id: Option<BootId>,
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) temperature: Option<f64>,
    pub(super) battery: Option<f64>,
    /// All other fields, and the known ones whose value is not usable.
    pub(super) extra_data: Object,
}

/// Names and values of further fields, both as JSON.
type Members<'t> = Vec<(Cow<'t, str>, Cow<'t, str>)>;

impl Fields {
    /// Parses a message.
    pub(super) fn parse(json: &[u8], limits: &Limits) -> Result<Self, InvalidReading> {
        Self::of(json::parse(json)?, limits)
    }

    /// Reads a message whose syntax was checked.
    pub(super) fn of(json: &RawValue, limits: &Limits) -> Result<Self, InvalidReading> {
        Self::read(json, limits, &KNOWN)
    }

    /// Reads the values of a reading in another format: only `temperature` and `battery` are known.
    pub(super) fn of_values(json: &RawValue, limits: &Limits) -> Result<Self, InvalidReading> {
        Self::read(json, limits, &["temperature", "battery"])
    }

    fn read(json: &RawValue, limits: &Limits, known: &[&str]) -> Result<Self, InvalidReading> {
        let (mut fields, mut others, mut unusable) = (Self::default(), Members::new(), 0);
        let mut scan = Scan::new(json, limits.rules());
        let read = scan.object(|scan, name| {
            if known.contains(&&*name.text) {
                unusable += usize::from(!fields.known(scan, name, &mut others)?);
            } else {
                scan.check_name(name)?;
                let value = scan.value()?;
                others.push((name.quoted.into(), value.into()));
            }
            Ok(())
        });
        read.map_err(|reason| InvalidReading::Fault(scan.fault(reason)))?;
        if others.len() - unusable > limits.fields {
            return Err(InvalidReading::Fields(limits.fields));
        }
        fields.extra_data = Object::of(others).map_err(InvalidReading::NotAReading)?;
        Ok(fields)
    }

    /// Reads the value of a known field, and returns whether it is usable. What identifies a reading must
    /// be; of the other fields, a value that is not is kept as it is.
    fn known<'t>(
        &mut self,
        scan: &mut Scan<'t>,
        name: &Name<'t>,
        others: &mut Members<'t>,
    ) -> Result<bool, Reason> {
        let value = scan.value_or_any_number()?;
        if value == "null" {
            return Ok(true);
        }
        let expected = |what: &str| Reason::Type(format!("must be {what}"));
        let is_usable = match name.text.as_ref() {
            "user_id" => {
                self.user_id = Some(text(value).ok_or_else(|| expected("a text"))?);
                true
            }
            "device_id" => {
                self.device_id = Some(text(value).ok_or_else(|| expected("a text"))?);
                true
            }
            "sequence_id" => {
                let number = json::integer(value);
                self.sequence_id =
                    Some(number.ok_or_else(|| expected("a whole number of 64 bits"))?);
                true
            }
            "boot_id" => {
                let boot = boot_id(value).ok_or_else(|| expected("a text or a whole number"))?;
                self.boot_id = Some(boot);
                true
            }
            "time" => {
                self.time = time(value);
                self.time.is_some()
            }
            "temperature" => {
                self.temperature = json::double(value);
                self.temperature.is_some()
            }
            _ => {
                self.battery = json::double(value);
                self.battery.is_some()
            }
        };
        if !is_usable {
            let is_kept = !is_number(value) || Numbers::Kept.check(value).is_ok();
            // A number that cannot be stored is kept as a text.
            let value = if is_kept { value.into() } else { format!("\"{value}\"").into() };
            others.push((name.quoted.into(), value));
        }
        Ok(is_usable)
    }
}

/// The known fields; `battery` is the last.
const KNOWN: [&str; 7] =
    ["user_id", "device_id", "sequence_id", "boot_id", "time", "temperature", "battery"];

/// Fields that are kept in `extra_data` if their value is not usable.
pub(super) const OPTIONAL: [&str; 3] = ["time", "temperature", "battery"];

fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn text(value: &str) -> Option<Box<str>> {
    serde_json::from_str(value).ok()
}

fn boot_id(value: &str) -> Option<BootId> {
    let number = || json::integer(value).map(|number| number.to_string());
    serde_json::from_str(value).ok().or_else(number).map(BootId)
}

/// Reads a time: RFC 3339 text or epoch milliseconds. Truncated to microseconds, the precision of
/// Postgres.
fn time(value: &str) -> Option<DateTime<Utc>> {
    let micros = match json::integer(value) {
        Some(millis) => millis.checked_mul(1000)?,
        None => serde_json::from_str::<DateTime<Utc>>(value).ok()?.timestamp_micros(),
    };
    DateTime::from_timestamp_micros(micros)
}

/// The items of a batch, not yet read, so that an invalid item does not affect the others.
pub(super) struct Items<'a>(pub(super) Vec<&'a RawValue>);

impl Items<'_> {
    /// Maximum number of items.
    pub(super) const MAX: usize = 1000;
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {} readings", Items::MAX)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
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
