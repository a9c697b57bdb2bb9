//! Refused messages: where a message arrived, its payload, and why it was refused.

use serde::{Deserialize, Serialize};

use super::id::{DeviceId, DeviceRef, UserId};

/// A message that was received and refused because it is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRejected {
    /// MQTT topic, NATS subject or HTTP path it arrived on.
    pub topic: String,
    /// Why it was refused, for people.
    pub reason: String,
    /// Size of the whole payload in bytes.
    pub size: u64,
    /// The first [`Self::MAX_PAYLOAD_BYTES`] of the payload, as text or in hexadecimal.
    pub payload: String,
    /// Encoding of `payload`: `text` or `hex`.
    pub encoding: String,
    /// Owner of the device that sent it; `None` if unknown, or named by the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The device that sent it, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
}

impl MessageRejected {
    /// Maximum number of bytes kept of a refused payload.
    pub const MAX_PAYLOAD_BYTES: usize = 4096;
    /// Maximum length of a reason in bytes: some quote what was sent.
    pub const MAX_REASON_BYTES: usize = 4096;

    /// Builds the record of a refused message. Payloads that are UTF-8 without NUL are kept as text.
    pub fn new(topic: &str, payload: &[u8], reason: impl std::fmt::Display) -> Self {
        let kept = &payload[..payload.len().min(Self::MAX_PAYLOAD_BYTES)];
        // Truncation inside a character must not turn text into binary.
        let text = match std::str::from_utf8(kept) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&kept[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let (payload_text, encoding) = match text.filter(|text| !text.contains('\0')) {
            Some(text) => (text.to_owned(), "text"),
            None => (hex::encode(kept), "hex"),
        };
        // NUL cannot be stored, and a reason may quote a name that the sender chose.
        let mut reason = reason.to_string().replace('\0', "\u{fffd}");
        reason.truncate(reason.floor_char_boundary(Self::MAX_REASON_BYTES));
        Self {
            topic: topic.replace('\0', "\u{fffd}"),
            reason,
            size: payload.len() as u64,
            payload: payload_text,
            encoding: encoding.into(),
            user_id: None,
            device_id: None,
        }
    }

    /// Names the device that sent the message, for a topic that does not.
    #[must_use]
    pub fn of(self, device: DeviceRef<'_>) -> Self {
        let DeviceRef { user_id, device_id } = device;
        Self { user_id: Some(user_id.clone()), device_id: Some(device_id.clone()), ..self }
    }

    /// Returns the user and the device that sent the message, as far as they are known.
    pub fn sender(&self) -> (Option<UserId>, Option<DeviceId>) {
        let mut levels = self.topic.split('/');
        let mut id = |level: &str| levels.next().filter(|name| *name == level).and(levels.next());
        let user_id = id("users").and_then(|id| UserId::parse(id).ok());
        let device_id = id("devices").and_then(|id| DeviceId::parse(id).ok());
        let device_id = device_id.filter(|_| user_id.is_some());
        (self.user_id.clone().or(user_id), self.device_id.clone().or(device_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_as_text_and_bytes_as_hex() {
        assert_eq!(MessageRejected::new("t", b"not json", "r").payload, "not json");
        let binary = MessageRejected::new("t", &[0xff, 0x00], "r");
        assert_eq!((binary.payload.as_str(), binary.encoding.as_str()), ("ff00", "hex"));
    }

    #[test]
    fn the_sender_is_named_by_the_topic_or_the_event() {
        let sender = |topic: &str| {
            let (user, device) = MessageRejected::new(topic, b"", "r").sender();
            (user.map(String::from), device.map(String::from))
        };
        let named = |user: Option<&str>, device: Option<&str>| {
            (user.map(str::to_owned), device.map(str::to_owned))
        };
        assert_eq!(sender("users/ada/devices/attic/telemetry"), named(Some("ada"), Some("attic")));
        assert_eq!(sender("users/ada/config"), named(Some("ada"), None));
        assert_eq!(sender("users/a b/devices/attic/telemetry"), named(None, None));
        assert_eq!(sender("tele/attic/SENSOR"), named(None, None));
        let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
        let device = DeviceRef { user_id: &user_id, device_id: &device_id };
        let mapped = MessageRejected::new("tele/attic/SENSOR", b"", "r").of(device);
        assert_eq!(mapped.sender(), (Some(user_id), Some(device_id)));
    }

    #[test]
    fn a_reason_can_be_stored_whatever_it_quotes() {
        let rejected = MessageRejected::new("t", b"x", "unknown field `a\0b`");
        assert_eq!(rejected.reason, "unknown field `a\u{fffd}b`");
        let long = MessageRejected::new("t", b"x", "é".repeat(5_000)).reason;
        assert_eq!(long.len(), MessageRejected::MAX_REASON_BYTES);
    }

    #[test]
    fn a_large_payload_is_truncated_between_characters() {
        let payload = "é".repeat(MessageRejected::MAX_PAYLOAD_BYTES);
        let rejected = MessageRejected::new("t", &payload.as_bytes()[1..], "r");
        assert_eq!(rejected.size, 2 * MessageRejected::MAX_PAYLOAD_BYTES as u64 - 1);
        assert_eq!(rejected.encoding, "hex");
        let rejected = MessageRejected::new("t", format!("a{payload}").as_bytes(), "r");
        assert_eq!(rejected.encoding, "text");
        assert_eq!(rejected.payload.len(), MessageRejected::MAX_PAYLOAD_BYTES - 1);
    }
}
