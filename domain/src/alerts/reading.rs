//! The part of a reading that rules evaluate. Readings are events of the context telemetry; this
//! context decodes only the members it needs.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::field_path::FieldPath;
use eventsourcing::json;

pub use crate::telemetry::published::READING_RECORDED as READING;

/// A reading of a device, decoded from the event `reading_recorded`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reading {
    /// Id of the user.
    pub user_id: Box<str>,
    /// Id of the device.
    pub device_id: Box<str>,
    /// Sequence number, counted by the device; `None` if unknown.
    #[serde(default)]
    pub sequence_id: Option<i64>,
    /// Id of the device's boot; empty if it sends none.
    #[serde(default)]
    pub boot_id: Box<str>,
    /// Time of the measurement by the device's clock.
    pub time: DateTime<Utc>,
    /// Temperature in degrees; `None` if not measured.
    pub temperature: Option<f64>,
    /// Battery level in per cent; `None` if not measured.
    pub battery: Option<f64>,
    /// All other fields.
    #[serde(default, deserialize_with = "json::object")]
    pub extra_data: Map<String, Value>,
}

/// The value of a field of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// A number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// `true` or `false`.
    Flag(bool),
    /// The field is absent or `null`.
    Missing,
    /// An array or an object, which rules cannot compare.
    Other,
}

impl FieldValue<'_> {
    /// Returns the value as JSON; `None` if it is missing or cannot be compared.
    pub fn to_json(self) -> Option<Value> {
        match self {
            Self::Number(number) => Some(number.into()),
            Self::Text(text) => Some(text.into()),
            Self::Flag(flag) => Some(flag.into()),
            Self::Missing | Self::Other => None,
        }
    }
}

impl Reading {
    /// Returns the value of the field named by `key`.
    pub fn get(&self, key: &FieldPath) -> FieldValue<'_> {
        let known = match key.name() {
            Some("temperature") => Some(self.temperature),
            Some("battery") => Some(self.battery),
            _ => None,
        };
        match known {
            Some(Some(number)) => FieldValue::Number(number),
            // A value that is not a number is kept with the other fields.
            Some(None) | None => {
                key.find(&self.extra_data).map_or(FieldValue::Missing, field_value)
            }
        }
    }
}

fn field_value(value: &Value) -> FieldValue<'_> {
    match value {
        Value::Null => FieldValue::Missing,
        Value::Bool(flag) => FieldValue::Flag(*flag),
        Value::Number(number) => number.as_f64().map_or(FieldValue::Other, FieldValue::Number),
        Value::String(text) => FieldValue::Text(text),
        Value::Array(_) | Value::Object(_) => FieldValue::Other,
    }
}
