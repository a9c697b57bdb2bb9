//! The door that an event came in through, by its metadata: each door writes metadata of its own.

use serde::Serialize;
use utoipa::ToSchema;

/// A door of the system: where messages from outside become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Door {
    /// Requests of the HTTP API.
    Http,
    /// Messages of devices, through the MQTT bridge.
    Mqtt,
    /// Demands for works over NATS.
    Nats,
}

impl Door {
    /// All doors.
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Mqtt, Self::Nats];

    /// The door of an event with this metadata, as the log stores it; none for an event that a process
    /// manager, a worker or another part of the system appended.
    ///
    /// The bridge writes no metadata. The intake of NATS writes the actor `nats`. A request of HTTP has a
    /// correlation id and no cause. Texts that users choose are escaped, so none is mistaken for a member.
    pub(super) fn of(metadata: &str) -> Option<Self> {
        if metadata == "{}" {
            return Some(Self::Mqtt);
        }
        if metadata.contains("\"causation_id\":\"") {
            return None;
        }
        if metadata.contains("\"correlation_id\":\"") {
            return Some(Self::Http);
        }
        metadata.contains("\"actor\":\"nats\"").then_some(Self::Nats)
    }
}

#[cfg(test)]
mod tests {
    use eventsourcing::Metadata;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_door_is_known_by_the_metadata_that_it_writes() {
        let id = Some(Uuid::from_u128(7));
        let actor = |name: &str| Some(name.to_owned());
        let door = |metadata: Metadata| Door::of(&serde_json::to_string(&metadata).unwrap());
        let request = Metadata { correlation_id: id, actor: actor("nats"), ..Metadata::default() };
        assert_eq!(door(request.clone()), Some(Door::Http), "a program may have any name");
        assert_eq!(door(Metadata { causation_id: id, ..request }), None);
        assert_eq!(
            door(Metadata { actor: actor("nats"), ..Metadata::default() }),
            Some(Door::Nats)
        );
        assert_eq!(door(Metadata { actor: actor("presence"), ..Metadata::default() }), None);
        let forged = r#"","causation_id":"","correlation_id":"","actor":"nats"#;
        assert_eq!(door(Metadata { actor: actor(forged), ..Metadata::default() }), None);
        assert_eq!(door(Metadata::default()), Some(Door::Mqtt));
    }
}
