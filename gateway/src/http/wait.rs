//! The headers of a query that ask for a minimum position, and the wait they cause: a query never
//! silently answers with older data than asked for.

use std::time::Duration;

use axum::http::HeaderMap;
use eventsourcing::Position;
use projections::{WaitError, Waiter};
use utoipa::IntoParams;

use super::problem::Problem;

/// How long a query waits for its projection without `Prefer: wait`.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait, whatever `Prefer: wait` asks for.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(20);

/// Headers of every query.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `query`; this is for the document")]
pub(super) struct QueryHeaders {
    /// Position of the log that the read model must have applied before it answers; 503
    /// `projection_behind` if it has not in time.
    #[param(rename = "Tributary-Min-Position", value_type = i64, required = false, minimum = 0, example = 42)]
    min_position: Option<i64>,
    /// `wait=N`: wait at most N seconds for that position (default 5, at most 20).
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
}

/// Waits until `projection` has applied the position that the headers of a query ask for, and
/// returns its checkpoint.
pub(super) async fn query(
    waiter: &Waiter,
    projection: &'static str,
    headers: &HeaderMap,
) -> Result<Position, Problem> {
    let Some(least) = min_position(headers)? else {
        return Ok(waiter.position(projection).await?);
    };
    let patience = preferred(headers).unwrap_or(DEFAULT_WAIT);
    waiter.at_least(projection, least, patience).await.map_err(|error| match error {
        WaitError::Unavailable(error) => error.into(),
        WaitError::BeyondHead { head } => {
            let detail = format!("the log ends at {head}; no command has returned {least}");
            Problem::parameter(MIN_POSITION, detail)
        }
        WaitError::Behind { position } => {
            let detail = format!("projection {projection} is at {position}, not yet at {least}");
            Problem::unavailable("projection_behind", detail)
                .member("projection", projection)
                .member("position", position.0)
                .member("min_position", least.0)
        }
    })
}

const MIN_POSITION: &str = "Tributary-Min-Position";

fn min_position(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    position(headers, MIN_POSITION)
}

/// The position of the log in the header `name`, if the request has that header.
pub(super) fn position(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<Position>, Problem> {
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
pub(super) fn preferred(headers: &HeaderMap) -> Option<Duration> {
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
            assert_eq!(preferred(&with("prefer", text)), expected, "{text}");
        }
    }

    #[test]
    fn a_position_is_a_number_that_is_not_negative() {
        let read = |text| min_position(&with("tributary-min-position", text));
        assert_eq!(read("42").unwrap(), Some(Position(42)));
        assert!(read("x").is_err() && read("-1").is_err() && read("").is_err());
        assert_eq!(min_position(&HeaderMap::new()).unwrap(), None);
    }
}
