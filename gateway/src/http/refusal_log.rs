//! The log of refused requests: one line at level info for each response of 400 or more, by which its
//! `X-Request-Id` and trace id are found. A client can cause as many refusals as it likes, so the lines
//! are limited per minute; the others are counted, and the next line is preceded by their number.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, StatusCode};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Header of requests and responses with the request's id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a request, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The caller's `X-Request-Id`, or `trace_id` if it has none of 1 to 128 printable ASCII characters
/// without spaces.
pub(super) fn request_id(headers: &HeaderMap, trace_id: &str) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let valid = |id: &&str| {
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    given.filter(valid).unwrap_or(trace_id).to_owned()
}

/// What the log shows of a refused request.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) request_id: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: StatusCode,
    /// Code of the problem.
    pub(super) code: &'static str,
}

/// Writes the lines, a limited number per minute.
#[derive(Debug)]
pub(super) struct RefusalLog {
    quota: DefaultDirectRateLimiter,
    /// Refused requests since the last line that were not logged.
    omitted: AtomicU64,
}

impl RefusalLog {
    /// Logs at most `per_minute` refused requests per minute.
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        let quota = RateLimiter::direct(Quota::per_minute(per_minute));
        Self { quota, omitted: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, refused: &Refused<'_>) {
        let Some(omitted) = self.admit() else { return };
        if omitted > 0 {
            tracing::info!(omitted, "HTTP requests refused and not logged, by --http-log-refusals");
        }
        let Refused { request_id, trace_id, method, route, status, code } = *refused;
        let status = status.as_u16();
        tracing::info!(request_id, trace_id, method, route, status, code, "HTTP request refused");
    }

    /// The number of refusals omitted since the last line, if another line is allowed.
    fn admit(&self) -> Option<u64> {
        if self.quota.check().is_ok() {
            return Some(self.omitted.swap(0, Ordering::Relaxed));
        }
        self.omitted.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_omitted_ones_are_counted() {
        let log = RefusalLog::new(2);
        assert_eq!([log.admit(), log.admit(), log.admit()], [Some(0), Some(0), None]);
        assert_eq!(log.admit(), None);
        assert_eq!(log.omitted.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_id_of_a_request_is_the_callers_if_it_can_be_searched_for() {
        let id = |value: &[u8]| {
            let value = axum::http::HeaderValue::from_bytes(value).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]), "trace")
        };
        assert_eq!(id(b"order-7"), "order-7");
        let long = "x".repeat(129);
        for value in ["", "a b", "a\tb", "\u{e9}", long.as_str()] {
            assert_eq!(id(value.as_bytes()), "trace", "{value}");
        }
        assert_eq!(request_id(&HeaderMap::new(), "trace"), "trace");
    }
}
