//! The AsyncAPI 3.0 document of the messages on NATS and MQTT. It is generated from the lists that
//! the code uses, and has an example of every message.

mod events;
mod examples;
mod channels;

use std::sync::LazyLock;

use axum::Json;
use domain::CONTEXTS;
use serde_json::{Map, Value, json};
use utoipa_axum::routes;

use super::api::Routes;
use super::tags;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(show))
}

/// Show the AsyncAPI document
///
/// The messages on NATS and MQTT, as an AsyncAPI 3.0 document.
#[utoipa::path(
    get, path = "/asyncapi.json", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The document", body = Value)),
)]
async fn show() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    Json(&DOCUMENT)
}

/// The AsyncAPI document.
pub fn document() -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for context in CONTEXTS {
        let (channel, of_context) = events::channel(context);
        let name = format!("events_{}", context.name);
        operations.insert(name.clone(), operation(&name, channels::SEND, "An event of the log"));
        channels.insert(name, channel);
        messages.extend(of_context);
    }
    for channel in channels::channels() {
        let name = channel.name;
        let parameters: Map<String, Value> =
            parameters(channel.address).map(|name| (name.to_owned(), json!({}))).collect();
        let mut described = json!({
            "address": channel.address,
            "description": channel.summary,
            "servers": [{"$ref": format!("#/servers/{}", channel.server)}],
            "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        });
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        channels.insert(name.to_owned(), described);
        operations.insert(name.to_owned(), operation(name, channel.action, channel.summary));
        let message = json!({
            "name": name,
            "summary": channel.summary,
            "contentType": channel.content_type,
            "payload": channel.payload,
            "examples": [{"name": name, "payload": channel.example}],
        });
        messages.insert(name.to_owned(), message);
    }
    let mut schemas: Map<String, Value> = channels::schemas().collect();
    schemas.insert("EventHeaders".to_owned(), events::headers());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tributary",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The messages that Tributary sends and receives besides HTTP. Operations \
                are Tributary's: where it sends, you subscribe. See docs/subscribe.md and \
                docs/mqtt.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {"host": "localhost:4222", "protocol": "nats",
                "description": "Configured by `NATS_URL`"},
            "mqtt": {"host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5.0",
                "description": "Configured by `MQTT_URL`"},
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
        },
    })
}

fn operation(channel: &str, action: &str, summary: &str) -> Value {
    let channel = json!({"$ref": format!("#/channels/{channel}")});
    json!({"action": action, "channel": channel, "summary": summary})
}

/// The names in braces in an address.
fn parameters(address: &str) -> impl Iterator<Item = &str> {
    address.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}
