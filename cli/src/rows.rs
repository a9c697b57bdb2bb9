//! Objects of the API on the command line: the options that every such command has, and its output:
//! a table for people, with `--json` what the API returned.

use client::{Client, Request};
use serde_json::Value;

use super::outcome::Failure;
use super::output::{self, Format, OutputFormat};
pub(super) use super::server::Server;

/// How long a command waits until its effect is visible, in seconds: the next line of a script
/// sees it.
pub(super) const WAIT: u8 = 5;

/// Options of every command that shows objects of the API.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) format: Format,
    #[command(flatten)]
    pub(super) server: Server,
}

/// Options of every command that lists objects of the API.
#[derive(Debug, clap::Args)]
pub(super) struct Listing {
    /// List at most COUNT items, 1 to 500
    #[arg(long, value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

/// The order of a list by time or position.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Order {
    /// List the oldest first; without it, the newest
    #[arg(long)]
    oldest_first: bool,
}

impl Order {
    pub(super) fn is_oldest_first(self) -> bool {
        self.oldest_first
    }

    /// Returns the value of the API's parameter `order`.
    pub(super) fn parameter(self) -> &'static str {
        if self.oldest_first { "asc" } else { "desc" }
    }
}

impl Listing {
    /// Shows the first page of the list at `path`. Parameters without a value are left out.
    pub(super) async fn show(
        self,
        path: &str,
        parameters: &[(&str, Option<String>)],
        columns: &[&str],
    ) -> Result<(), Failure> {
        let given: Vec<_> = parameters.iter().filter(|(_, value)| value.is_some()).collect();
        let client = self.common.server.connect().await?;
        let request = client.get(path).query(&given).query(&[("limit", self.limit)]);
        let page: Value = request.send().await?.body;
        show_all(items(&page, "items"), columns, self.common.format)
    }
}

impl Common {
    /// Returns the object at `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.server.connect().await?.get(path).send().await?.body)
    }

    /// Shows the object at `path`.
    pub(super) async fn show(self, path: &str, columns: &[&str]) -> Result<(), Failure> {
        show_one(self.get(path).await?, columns, self.format)
    }

    /// Posts `body` to `path` and shows the object that the response holds.
    pub(super) async fn create(
        self,
        path: &str,
        body: &Value,
        columns: &[&str],
    ) -> Result<(), Failure> {
        let client = self.server.connect().await?;
        let object: Value = client.post(path).json(body).wait(WAIT).send().await?.body;
        show_one(object, columns, self.format)
    }

    /// Sends a command, then shows the object at `path` as it is after it.
    pub(super) async fn change(
        self,
        command: impl FnOnce(&Client) -> Request<'_>,
        path: &str,
        columns: &[&str],
    ) -> Result<(), Failure> {
        command(&self.server.connect().await?).wait(WAIT).send::<Value>().await?;
        self.show(path, columns).await
    }
}

/// Returns the array that is the member `name` of `value`; an empty one if there is none.
pub(super) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Shows several objects. A column is the path of a member (`stock.available`); its last part is
/// the head of the column in a table, the whole of it in CSV.
pub(super) fn show_all(objects: &[Value], columns: &[&str], format: Format) -> Result<(), Failure> {
    let row = |object| columns.iter().map(|column| cell(object, column)).collect();
    let head = |column: &&str| column.rsplit('.').next().unwrap_or_default().to_uppercase();
    match format.selected() {
        OutputFormat::Json => output::json(&objects),
        OutputFormat::Table => {
            let heads: Vec<String> = columns.iter().map(head).collect();
            output::table(&heads, &objects.iter().map(row).collect::<Vec<_>>())
        }
        OutputFormat::Csv => {
            let row = |object| columns.iter().map(|column| field(object, column)).collect();
            output::csv(columns, &objects.iter().map(row).collect::<Vec<_>>())
        }
    }
}

/// Shows one object; as JSON it is not in an array.
pub(super) fn show_one(object: Value, columns: &[&str], format: Format) -> Result<(), Failure> {
    match format.selected() {
        OutputFormat::Json => output::json(&object),
        OutputFormat::Table | OutputFormat::Csv => show_all(&[object], columns, format),
    }
}

/// Returns the member of `object` at the path `column`.
fn member<'a>(object: &'a Value, column: &str) -> Option<&'a Value> {
    object.pointer(&format!("/{}", column.replace('.', "/")))
}

/// Returns the text of a field of CSV: a string as it is, nothing for null, other values as JSON.
fn field(object: &Value, column: &str) -> String {
    match member(object, column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Returns the text of one cell: a string as it is, the length of an array, other values as JSON.
fn cell(object: &Value, column: &str) -> String {
    match member(object, column) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.len().to_string(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_short_text() {
        let object = json!({
            "id": 1, "name": "Hat", "stock": {"available": 3}, "items": [{}, {}], "reason": null,
            "extra": {"x": 1},
        });
        for (column, text) in [
            ("id", "1"),
            ("name", "Hat"),
            ("stock.available", "3"),
            ("items", "2"),
            ("reason", "-"),
            ("unknown", "-"),
            ("extra", "{\"x\":1}"),
        ] {
            assert_eq!(cell(&object, column), text, "{column}");
        }
        for (column, text) in [("reason", ""), ("stock.available", "3"), ("items", "[{},{}]")] {
            assert_eq!(field(&object, column), text, "{column}");
        }
    }
}
