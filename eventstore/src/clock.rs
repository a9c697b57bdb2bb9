//! The clock of the log: the one clock that times are recorded by, and that leases, due times,
//! silence and deadlines are judged by. It is the clock of Postgres without its short leaps: a
//! process reads it without a query, from samples and the time since the last one (ADR 19).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

/// Time that a leap forward of the clock of Postgres must last before it is followed.
pub(crate) const CONFIRMED_AFTER: Duration = Duration::from_mins(1);
/// Largest leap forward that is followed at once, by default.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(5);

/// The clock of the log in one process. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LogClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    tolerance: TimeDelta,
    /// None before the first sample.
    basis: Option<Basis>,
}

/// The clock's time at a moment, as an [`uptime`]; it runs on from there.
#[derive(Debug, Clone, Copy)]
struct Basis {
    at: Duration,
    time: DateTime<Utc>,
    /// Since when the clock of Postgres is ahead by more than the tolerance.
    ahead_since: Option<Duration>,
}

impl Basis {
    fn time_at(&self, now: Duration) -> DateTime<Utc> {
        self.time + delta(now.saturating_sub(self.at))
    }
}

/// What a sample did to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampled {
    /// The clock follows Postgres.
    Followed,
    /// Postgres leapt forward by this; the clock runs on without it.
    LeapIgnored(TimeDelta),
    /// A leap that was ignored before has lasted; the clock leaps, too.
    LeapConfirmed(TimeDelta),
    /// Postgres stepped back by this, and the clock with it.
    SteppedBack(TimeDelta),
}

impl Default for LogClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { tolerance: delta(TOLERANCE), basis: None })))
    }
}

impl LogClock {
    /// Changes the largest leap forward that is followed at once.
    pub(crate) fn tolerate(&self, tolerance: Duration) {
        self.state().tolerance = delta(tolerance);
    }

    /// The current time to the microsecond; none before the first sample.
    pub(crate) fn now(&self) -> Option<DateTime<Utc>> {
        Some(self.state().basis?.time_at(uptime()).trunc_subsecs(6))
    }

    /// The time to record for an event that Postgres wrote at `time`: `time`, unless that is ahead
    /// of this clock by more than the tolerance.
    pub(crate) fn bounded(&self, time: DateTime<Utc>) -> DateTime<Utc> {
        let state = self.state();
        match state.basis.map(|basis| basis.time_at(uptime()).trunc_subsecs(6)) {
            Some(now) if time - now > state.tolerance => now,
            _ => time,
        }
    }

    /// Takes note that the clock of Postgres showed `time` at the [`uptime`] `at`.
    ///
    /// A leap forward would end leases and deadlines and make devices silent, so it is followed
    /// only once it has lasted. A step back does no such harm, and is followed at once.
    pub(crate) fn sample(&self, at: Duration, time: DateTime<Utc>) -> Sampled {
        let mut state = self.state();
        let followed = Basis { at, time, ahead_since: None };
        let Some(basis) = state.basis else {
            state.basis = Some(followed);
            return Sampled::Followed;
        };
        let ahead = time - basis.time_at(at);
        let (basis, sampled) = if ahead > state.tolerance {
            let since = basis.ahead_since.unwrap_or(at);
            if at.saturating_sub(since) < CONFIRMED_AFTER {
                (Basis { ahead_since: Some(since), ..basis }, Sampled::LeapIgnored(ahead))
            } else {
                (followed, Sampled::LeapConfirmed(ahead))
            }
        } else if -ahead > state.tolerance {
            (followed, Sampled::SteppedBack(-ahead))
        } else {
            (followed, Sampled::Followed)
        };
        state.basis = Some(basis);
        sampled
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since the start of this computer, including the time that it was suspended: a leap of the
/// clock of Postgres after a suspension is none.
pub(crate) fn uptime() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic; // On macOS it runs on while suspended.
    let now = clock_gettime(CLOCK);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: TimeDelta = TimeDelta::days(1);

    /// A clock, the moment of its first sample, and the time it had then.
    fn started() -> (LogClock, Duration, DateTime<Utc>) {
        let (clock, at) = (LogClock::default(), uptime());
        let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        assert_eq!(clock.now(), None);
        assert_eq!(clock.sample(at, time), Sampled::Followed);
        (clock, at, time)
    }

    /// The moment and the time so many seconds later.
    fn later(at: Duration, time: DateTime<Utc>, seconds: u32) -> (Duration, DateTime<Utc>) {
        let passed = Duration::from_secs(seconds.into());
        (at + passed, time + delta(passed))
    }

    #[test]
    fn a_short_leap_is_ignored_and_a_lasting_one_is_followed() {
        let (clock, at, time) = started();
        let sample = |seconds, leap| {
            let (at, time) = later(at, time, seconds);
            clock.sample(at, time + leap)
        };
        assert_eq!(sample(1, DAY), Sampled::LeapIgnored(DAY));
        assert!(clock.bounded(time + DAY) - time < TimeDelta::minutes(1));
        assert_eq!(sample(59, DAY), Sampled::LeapIgnored(DAY));
        assert_eq!(sample(60, TimeDelta::zero()), Sampled::Followed, "it was short");
        assert_eq!(sample(61, DAY), Sampled::LeapIgnored(DAY));
        assert_eq!(sample(120, DAY), Sampled::LeapIgnored(DAY));
        assert_eq!(sample(121, DAY), Sampled::LeapConfirmed(DAY));
        assert_eq!(sample(122, DAY), Sampled::Followed);
    }

    #[test]
    fn a_step_back_and_small_steps_are_followed_at_once() {
        let (clock, at, time) = started();
        let hour = TimeDelta::hours(1);
        let (after, then) = later(at, time - hour, 1);
        assert_eq!(clock.sample(after, then), Sampled::SteppedBack(hour));
        let (after, then) = later(at, time - hour, 2);
        assert_eq!(clock.sample(after, then + TimeDelta::seconds(2)), Sampled::Followed);
    }
}
