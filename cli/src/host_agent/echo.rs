//! The answer on `test/topic/echo` to JSON published on `test/topic`.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The topic the agent subscribes to. Not the topics below it: answers are never received.
pub(super) const TOPIC: &str = "test/topic";
/// The topic of the answers.
pub(super) const ANSWERS: &str = "test/topic/echo";
/// Longest message that is answered, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ignored {
    #[error("not JSON")]
    NotJson,
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It was answered when it was published, and would be again with every connection.
    #[error("retained message")]
    Retained,
    #[error("published by this agent")]
    Own,
    #[error("published on another topic")]
    OtherTopic,
    #[error("the queue of answers is full")]
    QueueFull,
}

/// The answer: the same JSON, byte by byte.
pub(super) fn answer(topic: &[u8], retained: bool, payload: &Bytes) -> Result<Bytes, Ignored> {
    if topic != TOPIC.as_bytes() {
        return Err(Ignored::OtherTopic);
    }
    if retained {
        return Err(Ignored::Retained);
    }
    if payload.len() > MAX_BYTES {
        return Err(Ignored::TooLong);
    }
    let text = std::str::from_utf8(payload).map_err(|_not_text| Ignored::NotJson)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_not_json| Ignored::NotJson)?;
    Ok(payload.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(payload: &'static [u8]) -> Result<Bytes, Ignored> {
        answer(TOPIC.as_bytes(), false, &Bytes::from_static(payload))
    }

    #[test]
    fn json_is_answered_unchanged() {
        for payload in [r#"{"b": 1,  "a": [1.50, "é"]}"#, "7", "null", r#""text""#, " [] "] {
            assert_eq!(answered(payload.as_bytes()), Ok(payload.into()), "{payload}");
        }
    }

    #[test]
    fn anything_but_new_json_of_limited_length_is_ignored() {
        for payload in [&b""[..], b"hello", b"{", b"{} {}", b"\"\xff\"", b"NaN"] {
            assert_eq!(answered(payload), Err(Ignored::NotJson), "{payload:?}");
        }
        let long = Bytes::from(vec![b'1'; MAX_BYTES + 1]);
        assert_eq!(answer(TOPIC.as_bytes(), false, &long), Err(Ignored::TooLong));
        assert_eq!(answer(TOPIC.as_bytes(), true, &"1".into()), Err(Ignored::Retained));
    }

    #[test]
    fn an_answer_is_never_answered() {
        assert!(!rumqttc::matches(ANSWERS, TOPIC), "the agent does not receive its answers");
        assert_eq!(answer(ANSWERS.as_bytes(), false, &"1".into()), Err(Ignored::OtherTopic));
    }
}
