//! Rows of named values, from which both JSON and CSV are written. A value is JSON text, so numbers keep
//! their digits. Columns of ours and fields of the device never have the same name.

use domain::FieldPath;
use eventsourcing::json::Object;
use projections::telemetry::ReadingRow;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::super::super::problem::Problem;

/// Columns of every reading, whatever fields are requested.
const ALWAYS: [&str; 6] =
    ["time", "received_at", "sequence_id", "boot_id", "position", "unset_time"];
/// Further columns of a reading without requested fields.
const OTHERS: [&str; 3] = ["temperature", "battery", "extra_data"];
/// Fields of the device that a reading has members of its own for.
const KNOWN: [&str; 2] = ["temperature", "battery"];
/// Begins the column of a field whose own name is that of a column of ours.
const PREFIX: &str = "fields.";

/// Returns the column of a requested field: its name. A name that a column of ours has, or that begins
/// with the prefix, is prefixed: the device's `position` is in `fields.position`.
pub(super) fn column(field: &str) -> String {
    let is_taken = ALWAYS.contains(&field) || field.starts_with(PREFIX);
    if is_taken { format!("{PREFIX}{field}") } else { field.to_owned() }
}

/// Returns the columns of readings with the requested `fields`.
pub(super) fn columns(fields: &[FieldPath]) -> Vec<String> {
    let always = ALWAYS.map(str::to_owned).into_iter();
    if fields.is_empty() {
        return always.chain(OTHERS.map(str::to_owned)).collect();
    }
    always.chain(fields.iter().map(|field| column(field.as_str()))).collect()
}

/// Values by the name of their column.
#[derive(Debug)]
pub(super) struct Row(Vec<(String, Box<RawValue>)>);

impl Row {
    /// The members of a serialized value.
    pub(super) fn of(value: &impl Serialize) -> Result<Self, Problem> {
        let members = members(value)?;
        let members = members.members().into_iter();
        members
            .map(|(name, value)| Ok((name.into_owned(), raw(value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A reading with only the requested `fields`, or all if there are none. Requested members of
    /// `extra_data` become columns of their own.
    pub(super) fn of_reading(reading: &ReadingRow, fields: &[FieldPath]) -> Result<Self, Problem> {
        let Self(mut row) = Self::of(reading)?;
        if fields.is_empty() {
            return Ok(Self(row));
        }
        let extra = reading.extra_data.as_ref().map_or("{}", Object::as_str);
        let mut chosen = Vec::with_capacity(fields.len());
        for field in fields {
            let known = row.iter().find(|(name, value)| {
                field.name() == Some(name.as_str())
                    && KNOWN.contains(&name.as_str())
                    && value.get() != "null"
            });
            let value = match known {
                Some((_, value)) => value.clone(),
                // A value of a known field that was of no use is among the others.
                None => raw(field.find_text(extra).unwrap_or("null"))?,
            };
            chosen.push((column(field.as_str()), value));
        }
        row.retain(|(name, _)| ALWAYS.contains(&name.as_str()));
        row.extend(chosen);
        Ok(Self(row))
    }

    /// Returns the value of a column; `None` if there is none.
    pub(super) fn get(&self, column: &str) -> Option<&RawValue> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| &**value)
    }

    /// Returns the value of a column as the text of a CSV cell: empty for null, a text without its
    /// quotation marks, and else the JSON.
    pub(super) fn cell(&self, column: &str) -> String {
        let value = self.get(column).map_or("null", RawValue::get);
        match serde_json::from_str(value) {
            Ok(text) => text,
            Err(_) if value == "null" => String::new(),
            Err(_) => value.to_owned(),
        }
    }
}

fn members(value: &impl Serialize) -> Result<Object, Problem> {
    let text = serde_json::to_string(value).map_err(|error| Problem::internal(&error))?;
    serde_json::from_str(&text).map_err(|error| Problem::internal(&error))
}

fn raw(value: &str) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(value.to_owned()).map_err(|error| Problem::internal(&error))
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
