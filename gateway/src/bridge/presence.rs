//! Decodes a device's birth and will: `{"online": true, "session_seq": 7, "boot_id": "b7"}`. A status
//! without `session_seq` is rejected: it would not distinguish one session from the next, nor a second
//! birth from a redelivered one.

use domain::telemetry::{BootId, Connection, DeviceId, Event, Reading, UserId};
use eventsourcing::json::{self, Fault, ReadError, Reason};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// A birth or a will.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = DeviceStatus)]
pub(crate) struct Status {
    /// True in a birth, false in a will.
    online: bool,
    /// Number of the session; a will older than the last birth is ignored.
    session_seq: i64,
    /// For devices whose counter does not survive a restart: text or a whole number.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    boot_id: Option<BootId>,
}

/// Decodes a status message. The event's id is derived from the content, so that a redelivered birth
/// is a duplicate.
pub(super) fn read(
    user_id: UserId,
    device_id: DeviceId,
    payload: &[u8],
) -> Result<(Uuid, Event), ReadError> {
    let Status { online, session_seq, boot_id } = json::read(payload)?;
    let BootId(boot_id) = boot_id.unwrap_or_default();
    if boot_id.len() > Reading::MAX_BOOT_ID_BYTES {
        let limit = Reading::MAX_BOOT_ID_BYTES;
        let reason = Reason::Type(format!("must not be longer than {limit} bytes"));
        return Err(Fault { pointer: "/boot_id".to_owned(), reason }.into());
    }
    let id = id(&user_id, &device_id, online, session_seq, &boot_id);
    let connection =
        Connection { user_id, device_id, session_seq, boot_id, reason: None, rests_on: None };
    let event = if online {
        Event::DeviceConnected(connection)
    } else {
        Event::DeviceDisconnected(connection)
    };
    Ok((id, event))
}

fn id(
    user_id: &UserId,
    device_id: &DeviceId,
    online: bool,
    session_seq: i64,
    boot_id: &str,
) -> Uuid {
    let mut hash = Sha256::new();
    for text in ["presence", user_id.as_str(), device_id.as_str()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update([u8::from(online)]);
    hash.update(session_seq.to_be_bytes());
    // Last: ids recorded before `boot_id` existed stay the same.
    hash.update(boot_id);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(device: &str, payload: &str) -> Result<(Uuid, Event), ReadError> {
        read(UserId::parse("u").unwrap(), DeviceId::parse(device).unwrap(), payload.as_bytes())
    }

    #[test]
    fn birth_and_will_are_different_events() {
        let (birth, event) = decoded("d", r#"{"online": true, "session_seq": 7}"#).unwrap();
        assert!(matches!(event, Event::DeviceConnected(Connection { session_seq: 7, .. })));
        let (will, event) = decoded("d", r#"{"online": false, "session_seq": 7}"#).unwrap();
        assert!(matches!(event, Event::DeviceDisconnected(Connection { session_seq: 7, .. })));
        assert_ne!(birth, will);
    }

    #[test]
    fn only_a_redelivered_status_has_the_same_id() {
        let id = |device, payload| decoded(device, payload).unwrap().0;
        let birth = id("d", r#"{"online": true, "session_seq": 7}"#);
        assert_eq!(birth, id("d", r#"{"session_seq":7,"online":true,"ip":"::1"}"#));
        assert_ne!(birth, id("d", r#"{"online": true, "session_seq": 8}"#));
        assert_ne!(birth, id("e", r#"{"online": true, "session_seq": 7}"#));
        assert_eq!(birth, id("d", r#"{"online": true, "session_seq": 7, "boot_id": null}"#));
        let rebooted = id("d", r#"{"online": true, "session_seq": 7, "boot_id": 3}"#);
        assert_ne!(birth, rebooted);
        assert_eq!(rebooted, id("d", r#"{"online": true, "session_seq": 7, "boot_id": "3"}"#));
    }

    #[test]
    fn ids_in_logs_never_change() {
        for (payload, id) in [
            (r#"{"online": true, "session_seq": 7}"#, "2caae340-7db9-8f1c-a6e6-e8d68271e7bb"),
            (r#"{"online": false, "session_seq": 7}"#, "2e7e7dfc-9ba0-88ab-ba23-e57871d271ca"),
            (
                r#"{"online": true, "session_seq": 7, "boot_id": 3}"#,
                "dcde4871-6b73-8886-af90-16ae7e827e91",
            ),
        ] {
            assert_eq!(decoded("d", payload).unwrap().0.to_string(), id, "{payload}");
        }
    }

    #[test]
    fn an_invalid_status_is_rejected() {
        for payload in ["", "offline", r#"{"online": true}"#, r#"{"online": 1, "session_seq": 1}"#]
        {
            assert!(decoded("d", payload).is_err(), "{payload}");
        }
        let boot = "x".repeat(65);
        let long = format!(r#"{{"online": true, "session_seq": 1, "boot_id": "{boot}"}}"#);
        assert!(decoded("d", &long).unwrap_err().to_string().contains("longer than 64 bytes"));
    }
}
