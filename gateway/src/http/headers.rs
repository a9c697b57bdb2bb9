//! Request headers that many routes read: preferences, positions and idempotency keys.

use std::time::Duration;

use axum::http::HeaderMap;
use eventsourcing::Position;

use super::problem::Problem;

/// Response header with a position of the log: how far the read model is, or for a command, where
/// its events end.
pub(super) const POSITION: &str = "tributary-position";
/// Request header with the position that a read model must have applied.
pub(super) const MIN_POSITION: &str = "Tributary-Min-Position";
/// Request header with the idempotency key of a command.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Response header, `true` if the response is that of an earlier request with the same key.
pub(super) const REPLAYED: &str = "idempotency-replayed";
/// Longest `Idempotency-Key`, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 200;
/// Longest wait, whatever `Prefer: wait` asks for.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(20);

/// The position of the log in the header `name`, if the request has that header.
pub(super) fn position(headers: &HeaderMap, name: &str) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position
        .filter(|position| *position >= 0)
        .map(|position| Some(Position(position)))
        .ok_or_else(|| Problem::parameter(name, "must be a position of the log: 0 or higher"))
}

/// `Prefer: wait=N` (RFC 7240), at most [`MAX_WAIT`]. Unknown preferences are ignored, as the RFC
/// requires.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter();
    preferences.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).find_map(
        |preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            let seconds = value.trim().trim_matches('"').parse().ok()?;
            let wait = Duration::from_secs(seconds);
            name.trim().eq_ignore_ascii_case("wait").then(|| wait.min(MAX_WAIT))
        },
    )
}

/// `Idempotency-Key`, if the request has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let fits = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    value.to_str().ok().filter(|_| fits).map(Some).ok_or_else(|| {
        let detail = "must be 1 to 200 printable ASCII characters without spaces";
        Problem::parameter("Idempotency-Key", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_wait_is_read_from_prefer_as_in_rfc_7240() {
        for (text, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, wait=5", Some(5)),
            ("Wait = \"7\"; x=y", Some(7)),
            ("wait=1000", Some(20)),
            ("wait=x", None),
            ("return=minimal", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(preferred_wait(&with("prefer", text)), expected, "{text}");
        }
    }

    #[test]
    fn a_position_is_a_number_that_is_not_negative() {
        let read = |text| position(&with("tributary-min-position", text), MIN_POSITION);
        assert_eq!(read("42").unwrap(), Some(Position(42)));
        assert!(read("x").is_err() && read("-1").is_err() && read("").is_err());
        assert_eq!(position(&HeaderMap::new(), MIN_POSITION).unwrap(), None);
    }

    #[test]
    fn idempotency_keys_are_printable_and_short() {
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(idempotency_key(&with("idempotency-key", "a-1")).unwrap(), Some("a-1"));
        for key in ["", "a b", &"x".repeat(201), "é"] {
            assert!(idempotency_key(&with("idempotency-key", key)).is_err(), "{key}");
        }
    }
}
