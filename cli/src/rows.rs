//! Objects of the API on the command line: the options that every such command has, and its output:
//! a table for people, with `--json` what the API returned.

use client::{Client, Request};
use serde_json::Value;

use super::outcome::Failure;
use super::output;
use gateway::config::Server;

/// How long a command waits until its effect is visible, in seconds: the next line of a script
/// sees it.
pub(super) const WAIT: u8 = 5;

/// Options of every command that shows objects of the API.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
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

/// Returns a client of the server that the options name.
pub(super) fn connect(server: &Server) -> Result<Client, Failure> {
    Ok(Client::new(server.url.expose())?.with_token(server.token.expose()))
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
        let client = connect(&self.common.server)?;
        let request = client.get(path).query(&given).query(&[("limit", self.limit)]);
        let page: Value = request.send().await?.body;
        show_all(items(&page, "items"), columns, self.common.json)
    }
}

impl Common {
    /// Shows the object at `path`.
    pub(super) async fn show(self, path: &str, columns: &[&str]) -> Result<(), Failure> {
        let object: Value = connect(&self.server)?.get(path).send().await?.body;
        show_one(object, columns, self.json)
    }

    /// Posts `body` to `path` and shows the object that the response holds.
    pub(super) async fn create(
        self,
        path: &str,
        body: &Value,
        columns: &[&str],
    ) -> Result<(), Failure> {
        let client = connect(&self.server)?;
        let object: Value = client.post(path).json(body).wait(WAIT).send().await?.body;
        show_one(object, columns, self.json)
    }

    /// Sends a command, then shows the object at `path` as it is after it.
    pub(super) async fn change(
        self,
        command: impl FnOnce(&Client) -> Request<'_>,
        path: &str,
        columns: &[&str],
    ) -> Result<(), Failure> {
        command(&connect(&self.server)?).wait(WAIT).send::<Value>().await?;
        self.show(path, columns).await
    }
}

/// Returns the array that is the member `name` of `value`; an empty one if there is none.
pub(super) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// Shows several objects. A column is the path of a member (`stock.available`); its last part is
/// the head of the column.
pub(super) fn show_all(objects: &[Value], columns: &[&str], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&objects);
    }
    let head = |column: &&str| column.rsplit('.').next().unwrap_or_default().to_uppercase();
    let heads: Vec<String> = columns.iter().map(head).collect();
    let row = |object| columns.iter().map(|column| cell(object, column)).collect();
    output::table(&heads, &objects.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// Shows one object; as JSON it is not in an array.
fn show_one(object: Value, columns: &[&str], json: bool) -> Result<(), Failure> {
    if json { output::json(&object) } else { show_all(&[object], columns, false) }
}

/// Returns the text of one cell: a string as it is, the length of an array, other values as JSON.
fn cell(object: &Value, column: &str) -> String {
    match object.pointer(&format!("/{}", column.replace('.', "/"))) {
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
    }
}
