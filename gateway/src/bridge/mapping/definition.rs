//! One mapping, and the reading that it finds in a message.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, Utc};
use domain::FieldPath;
use domain::telemetry::{
    DeviceId, DeviceRef, InvalidId, InvalidReading, Limits, MappedParts, Reading, UserId,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::source::{Source, Template, at, device_id, scalar};
use super::time::{TimeFormat, Unit, offset};

/// How messages on the topics of one filter become readings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Mapping {
    /// The topics.
    pub(super) filter: Box<str>,
    /// Whether messages on these topics are acknowledged and not recorded.
    #[serde(default)]
    pub(super) ignore: bool,
    /// Owner of the device. A client that may publish to the topic chooses a user that comes from the payload.
    user: Option<Source>,
    /// The device; characters that an id must not have are encoded.
    device: Option<Source>,
    /// Sequence number.
    sequence: Option<Source>,
    /// Id of the device's boot, or of its session, for a sequence that restarts.
    boot: Option<Source>,
    /// Time of the measurement.
    time: Option<Source>,
    /// Unit of a time that is a number.
    #[serde(default)]
    time_unit: Unit,
    /// Offset of a time that is text without one.
    #[serde(default, deserialize_with = "offset")]
    time_offset: Option<FixedOffset>,
    /// The object whose members are the fields; the whole payload without it, or if the payload has no
    /// object there.
    fields: Option<FieldPath>,
    /// In each item of the array at `fields`: the name of a field.
    name: Option<FieldPath>,
    /// In each item of the array at `fields`: the value of the field.
    value: Option<FieldPath>,
    /// The name of the only field, which holds what is at `fields`. The payload need not be JSON then.
    field: Option<Template>,
}

/// What a mapping makes of a message.
#[derive(Debug)]
pub(in super::super) enum Mapped {
    /// A reading with its event id.
    Reading {
        id: Uuid,
        reading: Box<Reading>,
        /// Whether the message itself distinguishes it from all others of its device: by a sequence
        /// number or a time.
        is_identified: bool,
        /// What the mapping names and the message does not have.
        notes: Vec<Note>,
    },
    /// The mapping ignores the message.
    Ignored,
}

/// A part that a mapping names and a message does not have, and what is used instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Note {
    #[error("the message has no sequence number where the mapping says; its content identifies it")]
    SequenceMissing,
    #[error("the message has no boot id where the mapping says")]
    BootMissing,
    #[error(
        "the message has no time that can be read where the mapping says; the time of receipt is used"
    )]
    TimeUnreadable,
    #[error("the message has no fields where the mapping says; the whole payload is kept")]
    FieldsAbsent,
}

/// Why a mapping finds no reading in a message.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Unmapped {
    #[error("topic mapping: the payload is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("topic mapping: the payload is not text in UTF-8")]
    NotText,
    #[error("topic mapping: the message has no {0} where the mapping says")]
    Missing(&'static str),
    #[error("topic mapping: `{0}` is not a {1} id: {2}")]
    Id(String, &'static str, InvalidId),
    #[error("topic mapping: the sequence number `{0}` is not a whole number")]
    Sequence(String),
    #[error("topic mapping: the payload is not a JSON object; set `field` to name its value")]
    NotAnObject,
    #[error("topic mapping: {0}")]
    Reading(InvalidReading),
}

impl Mapping {
    /// Longest filter in bytes.
    const MAX_FILTER_BYTES: usize = 1024;

    /// Returns why the mapping is invalid, with the name of the member.
    pub(super) fn check(&self) -> Result<(), String> {
        let fits = rumqttc::valid_filter(&self.filter)
            && self.filter.len() <= Self::MAX_FILTER_BYTES
            && !self.filter.starts_with("$share/");
        if !fits {
            return Err(format!("filter: `{}` is not a topic filter", self.filter));
        }
        if self.ignore {
            return Ok(());
        }
        for (name, source) in [("user", &self.user), ("device", &self.device)] {
            match source {
                None => return Err(format!("`{name}` is missing")),
                Some(Source::Constant(id)) => {
                    UserId::parse(id).map_err(|error| format!("{name}: {error}"))?;
                }
                Some(Source::Payload(_) | Source::Topic(_)) => {}
            }
        }
        if self.name.is_some() != self.value.is_some() {
            return Err("`name` and `value` go together".to_owned());
        }
        if self.name.is_some() && self.field.is_some() {
            return Err("`field` does not go with `name` and `value`".to_owned());
        }
        Ok(())
    }

    /// The filter of its topics.
    pub(in super::super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Finds the reading in a message.
    pub(in super::super) fn map(
        &self,
        limits: &Limits,
        topic: &str,
        payload: &[u8],
        packet_id: u16,
        received_at: DateTime<Utc>,
    ) -> Result<Mapped, Unmapped> {
        if self.ignore {
            return Ok(Mapped::Ignored);
        }
        let text = std::str::from_utf8(payload).map_err(|_invalid| Unmapped::NotText)?;
        let json = self.json(text)?;
        let mut notes = Vec::new();
        let user_id = find(self.user.as_ref(), topic, &json).ok_or(Unmapped::Missing("user"))?;
        let user_id = UserId::parse(&user_id)
            .map_err(|error| Unmapped::Id(user_id.into_owned(), "user", error))?;
        let device = self.device(topic, &json)?;
        let sequence_id = match find(self.sequence.as_ref(), topic, &json) {
            Some(text) => Some(whole(&text).ok_or(Unmapped::Sequence(text.into_owned()))?),
            None => None,
        };
        notes.extend(
            (self.sequence.is_some() && sequence_id.is_none()).then_some(Note::SequenceMissing),
        );
        let boot_id = find(self.boot.as_ref(), topic, &json);
        notes.extend((self.boot.is_some() && boot_id.is_none()).then_some(Note::BootMissing));
        let format = TimeFormat { unit: self.time_unit, offset: self.time_offset };
        let time = find(self.time.as_ref(), topic, &json).and_then(|text| format.read(text.trim()));
        notes.extend((self.time.is_some() && time.is_none()).then_some(Note::TimeUnreadable));
        let values = self.values(topic, &json, &mut notes)?;
        let parts = MappedParts {
            device: DeviceRef { user_id: &user_id, device_id: &device },
            sequence_id,
            boot_id: boot_id.as_deref().unwrap_or_default(),
            time,
            values: &values,
            message: [topic, text],
            delivery: packet_id.into(),
            received_at,
        };
        let (id, reading) = parts.reading(limits).map_err(Unmapped::Reading)?;
        let is_identified = parts.is_identified();
        Ok(Mapped::Reading { id, reading: Box::new(reading), is_identified, notes })
    }

    /// The payload as JSON. With `field`, any other text is a value, too.
    fn json<'p>(&self, text: &'p str) -> Result<Cow<'p, RawValue>, Unmapped> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => Ok(Cow::Borrowed(json)),
            Err(_) if self.field.is_some() => {
                serde_json::value::to_raw_value(text).map(Cow::Owned).map_err(Unmapped::NotJson)
            }
            Err(error) => Err(Unmapped::NotJson(error)),
        }
    }

    fn device(&self, topic: &str, json: &RawValue) -> Result<DeviceId, Unmapped> {
        let id = match &self.device {
            Some(Source::Topic(template)) => Some(template.fill(topic, device_id)),
            Some(Source::Constant(id)) => Some(id.to_string()),
            Some(source @ Source::Payload(_)) => {
                source.find(topic, json).map(|name| device_id(&name))
            }
            None => None,
        };
        let id = id.ok_or(Unmapped::Missing("device"))?;
        DeviceId::parse(&id).map_err(|error| Unmapped::Id(id, "device", error))
    }

    /// The values as a JSON object. What the mapping does not find, it does not lose: the whole payload
    /// is kept.
    fn values<'p>(
        &self,
        topic: &str,
        json: &'p RawValue,
        notes: &mut Vec<Note>,
    ) -> Result<Cow<'p, str>, Unmapped> {
        let found = match &self.fields {
            Some(key) => at(json, key),
            None => Some(json),
        };
        if let Some(field) = &self.field {
            notes.extend(found.is_none().then_some(Note::FieldsAbsent));
            let name = field.fill(topic, str::to_owned);
            return Ok(object([(name, found.unwrap_or(json))]).into());
        }
        let pairs = match (&self.name, &self.value) {
            (Some(name), Some(value)) => found.and_then(|items| pairs(items, name, value)),
            _ => found.filter(|found| is_object(found)).map(|found| found.get().into()),
        };
        if let Some(values) = pairs {
            return Ok(values);
        }
        notes.push(Note::FieldsAbsent);
        if is_object(json) { Ok(json.get().into()) } else { Err(Unmapped::NotAnObject) }
    }
}

fn find<'m>(source: Option<&'m Source>, topic: &str, json: &'m RawValue) -> Option<Cow<'m, str>> {
    source?.find(topic, json).filter(|text| !text.is_empty())
}

/// A whole number, also as `42.0` or `4.2e1`.
fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the range of exact doubles"
    )]
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0).then_some(number as i64)
}

fn is_object(json: &RawValue) -> bool {
    json.get().starts_with('{')
}

/// The object of the names and values in an array; `None` if it is no array, or an item has no name.
/// An item without a value is a field that is null.
fn pairs(items: &RawValue, name: &FieldPath, value: &FieldPath) -> Option<Cow<'static, str>> {
    let items: Vec<&RawValue> = serde_json::from_str(items.get()).ok()?;
    let pair = |item| {
        let name = scalar(at(item, name)?)?;
        Some((name.into_owned(), at(item, value).unwrap_or(RawValue::NULL)))
    };
    let pairs: Vec<_> = items.into_iter().map(pair).collect::<Option<_>>()?;
    Some(object(pairs).into())
}

/// Writes an object with these members, whose values stay as they are written.
fn object<'v>(members: impl IntoIterator<Item = (String, &'v RawValue)>) -> String {
    let member = |(name, value): (String, &RawValue)| {
        format!("{}:{}", serde_json::Value::String(name), value.get())
    };
    let members: Vec<_> = members.into_iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}
