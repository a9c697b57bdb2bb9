//! What rules see of a reading. It is another context's event: we read what we need of it, and
//! know nothing else of where it comes from.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::Key;

/// Type of the event that holds a reading.
pub const READING: &str = "reading_recorded";

/// A device's reading, as its event has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reading {
    pub user_id: Box<str>,
    pub device_id: Box<str>,
    /// When it was field_value, by the device's clock.
    pub time: DateTime<Utc>,
    pub temperature: Option<f64>,
    pub battery: Option<f64>,
    #[serde(default)]
    pub extra_data: Map<String, Value>,
}

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    Number(f64),
    Text(&'a str),
    Flag(bool),
    /// The field is not there, or is `null`.
    Missing,
    /// A list or an object: nothing a rule can compare.
    Other,
}

impl FieldValue<'_> {
    /// As JSON, for people to see.
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
    /// What stands in the field that `key` names.
    pub fn get(&self, key: &Key) -> FieldValue<'_> {
        let known = match key.as_str() {
            "temperature" => Some(self.temperature),
            "battery" => Some(self.battery),
            _ => None,
        };
        match known {
            Some(Some(number)) => FieldValue::Number(number),
            Some(None) => FieldValue::Missing,
            None => self.find(key).map_or(FieldValue::Missing, field_value),
        }
    }

    fn find(&self, key: &Key) -> Option<&Value> {
        let steps = key.steps();
        if steps.len() > 1
            && let Some(value) = self.extra_data.get(key.as_str())
        {
            return Some(value);
        }
        let (first, rest) = steps.split_first()?;
        rest.iter().try_fold(self.extra_data.get(&**first)?, |value, step| match value {
            Value::Object(fields) => fields.get(&**step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
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
