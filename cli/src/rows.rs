//! Rows of the API as they are shown: a table for people, JSON for programs.

use serde_json::Value;

use super::outcome::Failure;
use super::output;

/// Shows the named members of each row.
pub(super) fn show(rows: &[Value], columns: &[&str], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&rows);
    }
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let heads: Vec<String> = columns.iter().map(|name| name.to_uppercase()).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    output::table(&heads, &cells.collect::<Vec<_>>());
    Ok(())
}

/// Shows one row; as JSON it is not in a list.
pub(super) fn show_one(row: Value, columns: &[&str], json: bool) -> Result<(), Failure> {
    if json { output::json(&row) } else { show(&[row], columns, false) }
}

/// Shows the rows of a page.
pub(super) fn show_page(page: &Value, columns: &[&str], json: bool) -> Result<(), Failure> {
    show(page["items"].as_array().map_or(&[], Vec::as_slice), columns, json)
}
