//! Refused messages: where a message arrived, its payload, and why it was refused.

use serde::{Deserialize, Serialize};

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
        }
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
