//! The document about what is not HTTP: messages on NATS and MQTT, `AsyncAPI` 3.0. It is made of the
//! lists that the code itself goes by, and has an example of every message.

mod events;
mod golden;
mod others;

use std::sync::{Arc, LazyLock};

use axum::Json;
use domain::CONTEXTS;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, tags};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Messages on NATS and MQTT
///
/// An `AsyncAPI` 3.0 document.
#[utoipa::path(
    get, path = "/asyncapi.json", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The document", body = Value)),
)]
async fn show() -> Json<&'static Value> {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    Json(&DOCUMENT)
}

/// The document.
pub fn document() -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for context in CONTEXTS {
        let (channel, of_context) = events::channel(context);
        let name = format!("events_{}", context.name);
        operations.insert(name.clone(), operation(&name, others::SEND, "An event of the log"));
        channels.insert(name, channel);
        messages.extend(of_context);
    }
    for other in others::channels() {
        let name = other.name;
        let parameters: Map<String, Value> =
            parameters(other.address).map(|name| (name.to_owned(), json!({}))).collect();
        let mut channel = json!({
            "address": other.address,
            "description": other.summary,
            "servers": [{"$ref": format!("#/servers/{}", other.server)}],
            "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        });
        if !parameters.is_empty() {
            channel["parameters"] = parameters.into();
        }
        channels.insert(name.to_owned(), channel);
        operations.insert(name.to_owned(), operation(name, other.action, other.summary));
        let message = json!({
            "name": name,
            "summary": other.summary,
            "contentType": other.content_type,
            "payload": other.payload,
            "examples": [{"name": name, "payload": other.example}],
        });
        messages.insert(name.to_owned(), message);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tributary",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What Tributary says and hears besides HTTP. Operations are Tributary's: \
                where it sends, you subscribe. docs/subscribe.md and docs/mqtt.md say more.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {"host": "localhost:4222", "protocol": "nats",
                "description": "`NATS_URL` says where it is"},
            "mqtt": {"host": "localhost:1883", "protocol": "mqtt", "protocolVersion": "5.0",
                "description": "`MQTT_URL` says where it is"},
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {"EventHeaders": events::headers()},
        },
    })
}

fn operation(channel: &str, action: &str, summary: &str) -> Value {
    let channel = json!({"$ref": format!("#/channels/{channel}")});
    json!({"action": action, "channel": channel, "summary": summary})
}

/// Names in braces.
fn parameters(address: &str) -> impl Iterator<Item = &str> {
    address.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}
