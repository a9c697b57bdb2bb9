//! The log of refused requests: one line at level info for each response of 400 or more, by which its
//! `X-Request-Id` and trace id are found. A client can cause as many refusals as it likes, so the lines
//! are limited per minute; the others are counted, and a further line says their number.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// Shortest time between two lines with the number of refused requests that were not logged.
const OMITTED_EVERY: Duration = Duration::from_secs(10);

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
    /// Refused requests that were not logged, since their number was.
    omitted: AtomicU64,
    omitted_quota: DefaultDirectRateLimiter,
}

impl RefusalLog {
    /// Logs at most `per_minute` refused requests per minute.
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        let quota = RateLimiter::direct(Quota::per_minute(per_minute));
        let every = Quota::with_period(OMITTED_EVERY).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        let omitted_quota = RateLimiter::direct(every);
        Self { quota, omitted: AtomicU64::new(0), omitted_quota }
    }

    pub(super) fn record(&self, refused: &Refused<'_>) {
        if !self.admit() {
            return;
        }
        if let Some(omitted) = self.take_omitted() {
            tracing::info!(omitted, "HTTP requests refused and not logged, by --http-log-refusals");
        }
        let Refused { request_id, trace_id, method, route, status, code } = *refused;
        let status = status.as_u16();
        tracing::info!(request_id, trace_id, method, route, status, code, "HTTP request refused");
    }

    /// Whether another line is allowed; if not, the refusal is counted.
    fn admit(&self) -> bool {
        let admitted = self.quota.check().is_ok();
        if !admitted {
            self.omitted.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// The number of refusals that were not logged, if there are any and it is time to say so.
    fn take_omitted(&self) -> Option<u64> {
        if self.omitted.load(Ordering::Relaxed) == 0 || self.omitted_quota.check().is_err() {
            return None;
        }
        Some(self.omitted.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_omitted_ones_are_counted() {
        let log = RefusalLog::new(2);
        assert_eq!([log.admit(), log.admit(), log.admit()], [true, true, false]);
        assert!(!log.admit());
        assert_eq!(log.take_omitted(), Some(2));
        assert_eq!(log.take_omitted(), None, "there is none");
        assert!(!log.admit());
        assert_eq!(log.take_omitted(), None, "too soon");
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
