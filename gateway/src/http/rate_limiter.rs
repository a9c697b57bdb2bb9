//! Rate limits, each with a bounded number of clients it remembers. A client gets a full minute's
//! quota at once, and then as much as the time that has passed grants.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter as Governor};
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use super::problem::Problem;

/// Clients that one limit remembers at most; the one not seen for longest is forgotten first.
const MAX_CLIENTS: u64 = 65_536;
/// Clients that a limit has memory for from the start.
const FEW_CLIENTS: usize = 64;
/// Seconds in which the whole quota is granted again: the window of the policy.
const WINDOW: u32 = 60;

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

type Bucket = Governor<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// A limit on what a client does in a minute.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Name of the limit in headers and metrics.
    policy: &'static str,
    /// What is limited, in words, such as `registrations from this address`.
    what: &'static str,
    per_minute: NonZeroU32,
    /// Keys are hashes, so that a long key costs no more memory than a short one.
    hasher: RandomState,
    buckets: Cache<u64, Arc<Bucket>, UnitWeighter>,
}

/// What is left to a client of its quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remaining {
    policy: &'static str,
    quota: u32,
    left: u32,
}

impl RateLimiter {
    pub(super) fn new(policy: &'static str, what: &'static str, per_minute: u32) -> Self {
        Self {
            policy,
            what,
            per_minute: NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN),
            hasher: RandomState::new(),
            buckets: Cache::with_weighter(FEW_CLIENTS, MAX_CLIENTS, UnitWeighter),
        }
    }

    /// Takes `units` of the quota of `client`; 429 if there are not as many left.
    pub(super) fn take(&self, client: impl Hash, units: usize) -> Result<Remaining, Problem> {
        let units = u32::try_from(units).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let taken = self.bucket(client).check_n(units);
        let wait = match taken {
            Ok(Ok(state)) => return Ok(self.remaining(state.remaining_burst_capacity())),
            Ok(Err(refused)) => refused.wait_time_from(DefaultClock::default().now()),
            Err(_more_than_the_quota) => Duration::from_secs(WINDOW.into()),
        };
        count_refusal(self.policy);
        let detail =
            format!("more than {} {} in a minute; retry later", self.per_minute, self.what);
        Err(self.remaining(0).headers().fold(
            Problem::too_many("too_many_requests", detail, wait),
            |problem, (name, value)| problem.header(name, value),
        ))
    }

    fn bucket(&self, client: impl Hash) -> Arc<Bucket> {
        let key = self.hasher.hash_one(client);
        if let Some(bucket) = self.buckets.get(&key) {
            return bucket;
        }
        let fresh = || Governor::direct(Quota::per_minute(self.per_minute)).with_middleware();
        let made = self.buckets.get_or_insert_with(&key, || Ok::<_, ()>(Arc::new(fresh())));
        made.unwrap_or_else(|()| Arc::new(fresh()))
    }

    fn remaining(&self, left: u32) -> Remaining {
        Remaining { policy: self.policy, quota: self.per_minute.get(), left }
    }
}

impl Remaining {
    /// Adds the headers to those of other limits.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.append(name, value);
        }
    }

    fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let Self { policy, quota, left } = self;
        let missing = u64::from(quota.saturating_sub(left));
        let full_in = (missing * u64::from(WINDOW)).div_ceil(quota.into());
        let texts = [
            (POLICY, format!("\"{policy}\";q={quota};w={WINDOW}")),
            (STATE, format!("\"{policy}\";r={left};t={full_in}")),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name, text.try_into().ok()?)))
    }
}

/// Counts a request that a limit refused. `reason` is the name of the limit.
pub(super) fn count_refusal(reason: &'static str) {
    metrics::counter!("tributary_http_refused_total", "reason" => reason).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_per_client_and_is_shown() {
        let limiter = RateLimiter::new("test", "requests", 2);
        let first = limiter.take("a", 1).unwrap();
        let shown: Vec<_> = first.headers().map(|(_, value)| value).collect();
        assert_eq!(shown, ["\"test\";q=2;w=60", "\"test\";r=1;t=30"]);
        assert!(limiter.take("a", 2).is_err(), "one is left");
        assert!(limiter.take("a", 1).is_ok() && limiter.take("a", 1).is_err());
        assert!(limiter.take("b", 2).is_ok() && limiter.take("c", 3).is_err());
    }

    #[test]
    fn a_limit_remembers_a_bounded_number_of_clients() {
        let limiter = RateLimiter::new("test", "requests", 1_000);
        for client in 0..2 * MAX_CLIENTS {
            assert!(limiter.take(client, 1).is_ok());
        }
        assert!(limiter.buckets.len() as u64 <= MAX_CLIENTS + 1_024, "{}", limiter.buckets.len());
    }
}
