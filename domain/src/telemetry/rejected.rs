//! Messages nobody could read are kept: what arrived, where, and why it was refused.

use serde::{Deserialize, Serialize};

/// A message that was received and refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRejected {
    /// MQTT topic or HTTP path it came in on.
    pub topic: String,
    pub reason: String,
    /// Size of the whole payload in bytes.
    pub size: u64,
    /// The payload's first [`Self::MAX_PAYLOAD_BYTES`]: as text when it is text, else in hexadecimal.
    pub payload: String,
    /// `text` or `hex`.
    pub encoding: String,
}

impl MessageRejected {
    /// How much of a refused payload is kept.
    pub const MAX_PAYLOAD_BYTES: usize = 4096;

    pub fn new(topic: &str, payload: &[u8], reason: impl std::fmt::Display) -> Self {
        let kept = &payload[..payload.len().min(Self::MAX_PAYLOAD_BYTES)];
        // A cut through the middle of a character would make text look binary.
        let text = match std::str::from_utf8(kept) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&kept[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let (payload_text, encoding) = match text.filter(|text| !text.contains('\0')) {
            Some(text) => (text.to_owned(), "text"),
            None => (hex(kept), "hex"),
        };
        Self {
            topic: topic.replace('\0', "\u{fffd}"),
            reason: reason.to_string(),
            size: payload.len() as u64,
            payload: payload_text,
            encoding: encoding.into(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
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
    fn a_large_payload_is_cut_between_characters() {
        let payload = "é".repeat(MessageRejected::MAX_PAYLOAD_BYTES);
        let rejected = MessageRejected::new("t", &payload.as_bytes()[1..], "r");
        assert_eq!(rejected.size, 2 * MessageRejected::MAX_PAYLOAD_BYTES as u64 - 1);
        assert_eq!(rejected.encoding, "hex");
        let rejected = MessageRejected::new("t", format!("a{payload}").as_bytes(), "r");
        assert_eq!(rejected.encoding, "text");
        assert_eq!(rejected.payload.len(), MessageRejected::MAX_PAYLOAD_BYTES - 1);
    }
}
