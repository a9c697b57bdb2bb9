//! What the API answers, as rows: a table for people, JSON for programs.

use serde_json::Value;

use super::outcome::Failure;
use super::output;

/// Shows `columns` of each row under their names; all of it as JSON.
pub(super) fn show(rows: &[Value], columns: &[&str], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&rows);
    }
    let rows = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let heads: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    output::table(&heads, &rows.collect::<Vec<_>>());
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
