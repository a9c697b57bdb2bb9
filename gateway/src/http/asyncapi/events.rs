//! The events of the log: one channel per context, one message per event type.

use eventsourcing::Context;
use serde_json::{Map, Value, json};

use super::examples;

/// Members whose type one example cannot show: free-form values, and values of several types.
const ANYTHING: &[&str] =
    &["value", "threshold", "clear_threshold", "extra_data", "data", "schema", "for"];

/// The channel of a context, and its messages by event type.
pub(super) fn channel(context: &Context) -> (Value, Map<String, Value>) {
    let types: Vec<_> = context.events.iter().copied().flatten().collect();
    let messages: Map<String, Value> = types
        .iter()
        .map(|(event_type, version)| {
            ((*event_type).to_owned(), message(context, event_type, *version))
        })
        .collect();
    let references: Map<String, Value> = messages
        .keys()
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    let names: Vec<_> = types.iter().map(|(event_type, _)| event_type).collect();
    let channel = json!({
        "address": format!("events.{}.{{category}}.{{key}}.{{event_type}}", context.name),
        "title": format!("Events of {}", context.name),
        "description": "In the JetStream stream `EVENTS`, in the order of the log. Each token is \
            percent-encoded where it holds anything but visible ASCII, or one of `.*>%`; an empty \
            one is `%`.",
        "servers": [{"$ref": "#/servers/nats"}],
        "parameters": {
            "category": {"description": "Kind of stream", "enum": context.categories},
            "key": {"description": "The stream id is `{category}-{key}`"},
            "event_type": {"description": "What happened", "enum": names},
        },
        "messages": references,
    });
    (channel, messages)
}

fn message(context: &Context, event_type: &str, version: i16) -> Value {
    let text = examples::example(event_type, version).unwrap_or("null");
    let data: Value = serde_json::from_str(text).unwrap_or_default();
    let category = context.categories.first().copied().unwrap_or_default();
    let id = "01a20ca5-98ad-76df-8e4a-2db0a2949751";
    json!({
        "name": event_type,
        "title": event_type.replace('_', " "),
        "contentType": "application/json",
        "headers": {"allOf": [
            {"$ref": "#/components/schemas/EventHeaders"},
            {"type": "object", "properties": {
                "ce-type": {"const": event_type},
                "ce-source": {"const": format!("/tributary/{}", context.name)},
            }},
        ]},
        "payload": schema_of(&data),
        "examples": [{
            "name": event_type,
            "headers": {
                "content-type": "application/json",
                "ce-specversion": "1.0",
                "ce-id": id,
                "ce-type": event_type,
                "ce-source": format!("/tributary/{}", context.name),
                "ce-subject": format!("{category}-01a20ca5-9910-757a-89f2-ee68a5960343"),
                "ce-time": "2026-11-24T08:21:48.859244Z",
                "Tributary-Position": "42",
                "Tributary-Previous": "41",
                "Tributary-Version": "3",
                "Tributary-Deployment": "9f1c3a52-6f0e-4d0b-8f55-0d3f6f1f2a10",
                "Tributary-Epoch": "1",
                "Tributary-Schema-Version": version.to_string(),
                "Tributary-Metadata": "{}",
                "Nats-Msg-Id": id,
            },
            "payload": data,
        }],
    })
}

/// A schema that is derived from an example. Every member may be missing or null, and others may be
/// added, because one example cannot show that.
fn schema_of(example: &Value) -> Value {
    match example {
        Value::Null => json!({}),
        Value::Bool(_) => json!({"type": ["boolean", "null"]}),
        Value::Number(_) => json!({"type": ["number", "null"]}),
        Value::String(_) => json!({"type": ["string", "null"]}),
        Value::Array(items) => {
            let items = items.first().map_or_else(|| json!({}), schema_of);
            json!({"type": ["array", "null"], "items": items})
        }
        Value::Object(members) => {
            let properties: Map<String, Value> = members
                .iter()
                .map(|(name, member)| {
                    let any = ANYTHING.contains(&name.as_str());
                    (name.clone(), if any { json!({}) } else { schema_of(member) })
                })
                .collect();
            json!({"type": ["object", "null"], "properties": properties})
        }
    }
}

/// Headers of every event.
pub(super) fn headers() -> Value {
    let number = |description: &str| json!({"type": "string", "pattern": "^[0-9]+$", "description": description});
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "required": [
            "content-type", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject",
            "ce-time", "Tributary-Position", "Tributary-Previous", "Tributary-Version", "Tributary-Epoch",
            "Tributary-Schema-Version", "Nats-Msg-Id",
        ],
        "properties": {
            "content-type": {"const": "application/json"},
            "ce-specversion": {"const": "1.0"},
            "ce-id": {"type": "string", "format": "uuid", "description": "Id of the event"},
            "ce-type": text("Type of the event"),
            "ce-source": text("`/tributary/{context}`"),
            "ce-subject": text("Stream id; what is not visible ASCII, `\"` and `%` are percent-encoded"),
            "ce-time": {"type": "string", "format": "date-time", "description": "When the event was committed"},
            "ce-traceparent": text("W3C trace context of the cause"),
            "Tributary-Position": number("Place in the log: gapless, in commit order"),
            "Tributary-Previous": number("Position of the event before it in the same context, or 0"),
            "Tributary-Version": number("Number of events in the stream up to and including this one"),
            "Tributary-Deployment": {"type": "string", "format": "uuid", "description":
                "Id of the deployment. A message without it, or with another one, is not from this log: skip it"},
            "Tributary-Epoch": number("Increases when the log is restored from a backup, because history may have forked"),
            "Tributary-Schema-Version": number("Version of the schema of the data"),
            "Tributary-Metadata": text("Correlation, causation, actor and trace, as JSON"),
            "Tributary-Body": {"const": "omitted", "description":
                "The event is too large for a message: the body is empty and there is no metadata. Read the event over HTTP"},
            "Nats-Msg-Id": {"type": "string", "format": "uuid", "description": "Id of the event"},
            "Nats-Expected-Last-Sequence": number("For the relay and the server only"),
            "Nats-Expected-Last-Msg-Id": text("For the relay and the server only"),
        },
    })
}
