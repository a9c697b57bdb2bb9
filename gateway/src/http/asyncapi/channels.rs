//! The messages that are not events: those of devices, agents and programs, and those to them.

use eventstore::HEAD_SUBJECT;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::super::alerts::SentConfig;
use crate::bridge::{AlertMessage, Status};
use crate::nats::intake::{self, Demand};

/// Action of an operation: Tributary sends or receives the message.
pub(super) const SEND: &str = "send";
pub(super) const RECEIVE: &str = "receive";

/// A channel with one kind of message.
pub(super) struct Channel {
    /// Name of the channel, the operation and the message in the document.
    pub(super) name: &'static str,
    pub(super) address: &'static str,
    pub(super) server: &'static str,
    pub(super) action: &'static str,
    pub(super) summary: &'static str,
    pub(super) content_type: &'static str,
    pub(super) payload: Value,
    pub(super) example: Value,
}

/// The schemas that payloads refer to, by name.
pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    let mut schemas = Vec::new();
    add::<AlertMessage<'_>>(&mut schemas);
    add::<Demand>(&mut schemas);
    add::<SentConfig>(&mut schemas);
    add::<Status>(&mut schemas);
    schemas.into_iter().map(|(name, schema)| (name, json!(schema)))
}

/// Adds the schema of a type, and those that it refers to.
fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// A payload whose schema is that of a type in [`schemas`].
fn payload<T: ToSchema>() -> Value {
    json!({"$ref": format!("#/components/schemas/{}", T::name())})
}

/// All channels that are not events.
pub(super) fn channels() -> Vec<Channel> {
    let mqtt = |name, address, action, summary, payload, example| Channel {
        name,
        address,
        server: "mqtt",
        action,
        summary,
        content_type: "application/json",
        payload,
        example,
    };
    vec![
        mqtt(
            "telemetry",
            "users/{user_id}/devices/{device_id}/telemetry",
            RECEIVE,
            "A reading of a device, at most 64 KiB; all further members are stored, too",
            json!({"type": "object", "required": ["sequence_id"], "properties": {
                "sequence_id": {"type": "integer"},
                "boot_id": {"type": ["string", "integer", "null"],
                    "description": "Distinguishes a counter that was reset from the one before"},
                "time": {"type": ["string", "integer", "null"],
                    "description": "RFC 3339, or milliseconds since the epoch; default the time of receipt"},
                "temperature": {"type": ["number", "null"]},
                "battery": {"type": ["number", "null"]},
            }}),
            json!({"sequence_id": 42, "boot_id": "b7", "time": "2026-01-01T00:00:00.123Z",
                "temperature": 21.5, "battery": 87, "pressure": 101.3}),
        ),
        mqtt(
            "status",
            "users/{user_id}/devices/{device_id}/status",
            RECEIVE,
            "Birth or will of a device's session",
            payload::<Status>(),
            json!({"online": true, "session_seq": 7}),
        ),
        mqtt(
            "config",
            "users/{user_id}/config",
            RECEIVE,
            "Replaces all alert rules of a user, like `PUT /api/v1/users/{user_id}/config`",
            payload::<SentConfig>(),
            json!({"temperature_max": 80.0, "rules": [
                {"key": "battery", "operator": "<", "threshold": 20.0,
                    "message": "Critical Battery Level!"}]}),
        ),
        mqtt(
            "host_metrics",
            "hosts/{host}/metrics",
            RECEIVE,
            "A sample of a host, as `tributary agent` sends it",
            json!({"type": "object", "required": ["time", "users", "storage", "memory", "load"],
                "properties": {
                    "time": {"type": "string", "format": "date-time"},
                    "users": {"type": "integer", "minimum": 0},
                    "storage": {"type": "object", "required": ["total_bytes", "used_bytes", "free_bytes"]},
                    "memory": {"type": "object", "required": ["total_bytes", "used_bytes"]},
                    "load": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
            }}),
            json!({"time": "2026-01-02T03:04:05.678901Z", "users": 5,
                "storage": {"total_bytes": 49_800_000_000_u64, "used_bytes": 12_300_000_000_u64,
                    "free_bytes": 37_500_000_000_u64},
                "memory": {"total_bytes": 8_589_934_592_u64, "used_bytes": 3_221_225_472_u64},
                "load": [0.5, 0.25, 0.125]}),
        ),
        mqtt(
            "alerts",
            "users/{user_id}/devices/{device_id}/alerts",
            SEND,
            "A change of an alert, at QoS 1; a message with the same id and position is a duplicate",
            payload::<AlertMessage<'_>>(),
            json!({"id": "00000000-0000-8000-8000-000000000001", "rule": "battery < 20",
                "severity": "warning", "state": "active", "value": 19.0, "threshold": 20.0,
                "message": "Critical Battery Level!", "time": "2026-01-01T00:00:00Z",
                "position": 4711}),
        ),
        mqtt(
            "test",
            "test/topic",
            RECEIVE,
            "Any JSON; every agent echoes it",
            json!({}),
            json!({"hello": "world"}),
        ),
        mqtt(
            "test_echo",
            "test/topic/echo",
            SEND,
            "The same JSON, byte for byte",
            json!({}),
            json!({"hello": "world"}),
        ),
        Channel {
            name: "works_demand",
            address: intake::SUBJECT,
            server: "nats",
            action: RECEIVE,
            summary: "Demands a work. In a JetStream work queue; a message with the same \
                `Nats-Msg-Id` is a duplicate",
            content_type: "application/json",
            payload: payload::<Demand>(),
            example: json!({"add_up_to": 2, "done": false}),
        },
        Channel {
            name: "log_head",
            address: HEAD_SUBJECT,
            server: "nats",
            action: SEND,
            summary: "The last committed position, in decimal; messages may be lost",
            content_type: "text/plain",
            payload: json!({"type": "string", "pattern": "^[0-9]+$"}),
            example: json!("42"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_of_the_bridge_is_described() {
        let described: Vec<String> = channels()
            .iter()
            .filter(|channel| channel.server == "mqtt" && channel.action == RECEIVE)
            .map(|channel| {
                let levels = channel.address.split('/');
                let filter = levels.map(|level| if level.starts_with('{') { "+" } else { level });
                filter.collect::<Vec<_>>().join("/")
            })
            .collect();
        for filter in crate::bridge::FILTERS {
            assert!(described.iter().any(|known| known == filter), "{filter}");
        }
    }
}
