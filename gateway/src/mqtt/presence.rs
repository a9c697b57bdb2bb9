//! A device's birth and will: `{"online": true, "session_seq": 7}`.

use domain::telemetry::{DeviceId, Event, UserId};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Debug, Deserialize)]
struct Status {
    online: bool,
    session_seq: i64,
}

/// Reads a status message. The event's id names what was said, so that a birth delivered twice is
/// one birth.
pub(super) fn read(
    user_id: UserId,
    device_id: DeviceId,
    payload: &[u8],
) -> Result<(Uuid, Event), serde_json::Error> {
    let Status { online, session_seq } = serde_json::from_slice(payload)?;
    let id = id(&user_id, &device_id, online, session_seq);
    let event = if online {
        Event::DeviceConnected { user_id, device_id, session_seq }
    } else {
        Event::DeviceDisconnected { user_id, device_id, session_seq }
    };
    Ok((id, event))
}

fn id(user_id: &UserId, device_id: &DeviceId, online: bool, session_seq: i64) -> Uuid {
    let mut hash = Sha256::new();
    for text in ["presence", user_id.as_str(), device_id.as_str()] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update([u8::from(online)]);
    hash.update(session_seq.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(device: &str, payload: &str) -> Result<(Uuid, Event), serde_json::Error> {
        read(UserId::parse("u").unwrap(), DeviceId::parse(device).unwrap(), payload.as_bytes())
    }

    #[test]
    fn birth_and_will_are_told_apart() {
        let (birth, event) = said("d", r#"{"online": true, "session_seq": 7}"#).unwrap();
        assert!(matches!(event, Event::DeviceConnected { session_seq: 7, .. }));
        let (will, event) = said("d", r#"{"online": false, "session_seq": 7}"#).unwrap();
        assert!(matches!(event, Event::DeviceDisconnected { session_seq: 7, .. }));
        assert_ne!(birth, will);
    }

    #[test]
    fn the_same_said_twice_has_the_same_id_and_nothing_else_has() {
        let id = |device, payload| said(device, payload).unwrap().0;
        let birth = id("d", r#"{"online": true, "session_seq": 7}"#);
        assert_eq!(birth, id("d", r#"{"session_seq":7,"online":true,"ip":"::1"}"#));
        assert_ne!(birth, id("d", r#"{"online": true, "session_seq": 8}"#));
        assert_ne!(birth, id("e", r#"{"online": true, "session_seq": 7}"#));
    }

    #[test]
    fn what_is_not_a_status_is_refused() {
        for payload in ["", "offline", r#"{"online": true}"#, r#"{"online": 1, "session_seq": 1}"#]
        {
            assert!(said("d", payload).is_err(), "{payload}");
        }
    }
}
