//! The two documents about the API without their prose: paths, parameters, headers, fields, words,
//! names of schemas, channels. `pinned.txt` only grows: a line in it is relied on for ever, and changes only by adding.

use serde_json::{Map, Value, json};

/// A JSON Schema in one line.
fn schema(value: &Value) -> String {
    let Some(members) = value.as_object() else { return value.to_string() };
    if let Some(reference) = value["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let mut parts: Vec<String> = members
        .iter()
        .filter_map(|(key, value)| {
            let list = || value.as_array().into_iter().flatten().map(schema).collect::<Vec<_>>();
            match key.as_str() {
                "description" | "summary" | "title" | "example" | "examples" | "required"
                | "deprecated" => None,
                "oneOf" | "anyOf" | "allOf" => Some(format!("{key}({})", list().join("; "))),
                "items" | "additionalProperties" => Some(format!("{key}({})", schema(value))),
                "properties" => Some(format!("{{{}}}", properties(members).join("; "))),
                _ => Some(format!("{key}={value}")),
            }
        })
        .collect();
    parts.sort_unstable();
    parts.join(" ")
}

/// The members of an object; those that are required with `!`.
fn properties(object: &Map<String, Value>) -> Vec<String> {
    let required = object.get("required").and_then(Value::as_array);
    let known = |name: &String| required.is_some_and(|all| all.contains(&json!(name)));
    let of = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let members = of(&object.get("properties").cloned().unwrap_or_default());
    let mut lines: Vec<_> = members
        .iter()
        .map(|(name, value)| {
            format!("{name}{}: {}", if known(name) { "!" } else { "" }, schema(value))
        })
        .collect();
    lines.sort_unstable();
    lines
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    names.join(" ")
}

fn openapi(lines: &mut Vec<String>) {
    let document = serde_json::to_value(super::document()).unwrap();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let place = format!("{} {path}", method.to_uppercase());
            let id = operation["operationId"].as_str().unwrap_or_default();
            lines.push(format!("{place} operation {id}"));
            if operation["security"].is_array() {
                lines.push(format!("{place} security={}", operation["security"]));
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let kind = parameter["in"].as_str().unwrap_or_default();
                let name = parameter["name"].as_str().unwrap_or_default();
                let required = if parameter["required"] == true { "!" } else { "" };
                let schema = schema(&parameter["schema"]);
                lines.push(format!("{place} {kind} {name}{required}: {schema}"));
            }
            for (media, content) in members(&operation["requestBody"]["content"]) {
                lines.push(format!("{place} request {media}: {}", schema(&content["schema"])));
            }
            let mut problems = Vec::new();
            for (status, response) in members(&operation["responses"]) {
                let contents: Vec<_> = members(&response["content"]).collect();
                // An error of the token endpoint has another form, too.
                if contents.len() > 1
                    && contents.iter().any(|(media, _)| *media == "application/problem+json")
                {
                    problems.push(status);
                }
                match contents[..] {
                    [] => lines.push(format!("{place} {status}")),
                    [("application/problem+json", _)] => {
                        problems.push(status);
                        continue;
                    }
                    _ => lines.extend(contents.iter().map(|(media, content)| {
                        format!("{place} {status} {media}: {}", schema(&content["schema"]))
                    })),
                }
                let headers = members(&response["headers"]).map(|(name, _)| name);
                lines.push(format!("{place} {status} headers {}", sorted(headers)));
            }
            lines.push(format!("{place} problems {}", sorted(problems)));
        }
    }
    for (name, component) in members(&document["components"]["schemas"]) {
        let properties = component.as_object().map(properties).unwrap_or_default();
        if properties.is_empty() {
            lines.push(format!("schema {name}: {}", schema(component)));
        }
        lines.extend(properties.iter().map(|property| format!("schema {name}.{property}")));
    }
}

fn asyncapi(lines: &mut Vec<String>) {
    let document = super::asyncapi::document();
    for (name, channel) in members(&document["channels"]) {
        lines.push(format!("channel {name} {}", channel["address"]));
        let messages = members(&channel["messages"]);
        lines.extend(messages.map(|(message, _)| format!("channel {name} message {message}")));
    }
    for (name, operation) in members(&document["operations"]) {
        lines.push(format!("operation {name} {}", operation["action"]));
    }
    for (name, message) in members(&document["components"]["messages"]) {
        lines.push(format!("message {name} {}", message["contentType"]));
        let headers = message["headers"].as_object().map(properties).unwrap_or_default();
        lines.extend(headers.iter().map(|header| format!("message {name} header {header}")));
    }
}

/// Whether `line` is as pinned. Lists of problems and headers may have grown.
fn holds(line: &str, pinned: &str) -> bool {
    let grown = [" problems", " headers"].into_iter().any(|list| {
        let (Some((place, names)), Some((pinned_place, pinned_names))) =
            (line.split_once(list), pinned.split_once(list))
        else {
            return false;
        };
        let names: Vec<_> = names.split(' ').collect();
        place == pinned_place && pinned_names.split(' ').all(|name| names.contains(&name))
    });
    grown || line == pinned
}

#[test]
fn documents_without_their_prose() {
    let mut now = Vec::new();
    openapi(&mut now);
    asyncapi(&mut now);
    let pinned =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/pinned.txt"))
            .unwrap();
    let lost: Vec<_> =
        pinned.lines().filter(|pinned| !now.iter().any(|line| holds(line, pinned))).collect();
    let new: Vec<_> = now
        .iter()
        .map(String::as_str)
        .filter(|line| !pinned.lines().any(|pinned| pinned == *line))
        .collect();
    assert!(lost.is_empty(), "not as pinned: {lost:#?}\nnow, and not pinned:\n{}", new.join("\n"));
}
