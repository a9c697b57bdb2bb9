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
    /// When it was measured, by the device's clock.
    pub time: DateTime<Utc>,
    pub temperature: Option<f64>,
    pub battery: Option<f64>,
    #[serde(default)]
    pub extra_data: Map<String, Value>,
}

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured<'a> {
    Number(f64),
    Text(&'a str),
    Flag(bool),
    /// The field is not there, or is `null`.
    Nothing,
    /// A list or an object: nothing a rule can compare.
    Other,
}

impl Measured<'_> {
    /// As JSON, for people to see.
    pub fn to_json(self) -> Option<Value> {
        match self {
            Self::Number(number) => Some(number.into()),
            Self::Text(text) => Some(text.into()),
            Self::Flag(flag) => Some(flag.into()),
            Self::Nothing | Self::Other => None,
        }
    }
}

impl Reading {
    /// What stands in the field that `key` names.
    pub fn get(&self, key: &Key) -> Measured<'_> {
        let known = match key.as_str() {
            "temperature" => Some(self.temperature),
            "battery" => Some(self.battery),
            _ => None,
        };
        match known {
            Some(Some(number)) => Measured::Number(number),
            Some(None) => Measured::Nothing,
            None => self.find(key).map_or(Measured::Nothing, measured),
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

fn measured(value: &Value) -> Measured<'_> {
    match value {
        Value::Null => Measured::Nothing,
        Value::Bool(flag) => Measured::Flag(*flag),
        Value::Number(number) => number.as_f64().map_or(Measured::Other, Measured::Number),
        Value::String(text) => Measured::Text(text),
        Value::Array(_) | Value::Object(_) => Measured::Other,
    }
}
