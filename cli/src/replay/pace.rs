//! The pace of a replay: unlimited, a rate, or a multiple of the recorded speed.

use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// A multiple of the recorded speed, above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed(f64);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
        let factor = factor.filter(|factor| factor.is_finite() && *factor > 0.0);
        factor.map(Self).ok_or("a speed is a factor above zero, such as `10x`")
    }
}

/// Delay that a rate catches up with, at most: that of a timer, not that of an outage.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Schedules events.
#[derive(Debug)]
pub(super) enum Pace {
    /// Events are due immediately.
    Unlimited,
    /// Events are due at a fixed interval.
    Rate { every: Duration, next: Option<Instant> },
    /// Events are due as they were recorded, `factor` times as fast.
    Speed {
        factor: f64,
        /// When the first event was due, and when it was recorded.
        first: Option<(Instant, DateTime<Utc>)>,
    },
}

impl Pace {
    /// Returns the pace for a rate in events per second, or for a speed.
    pub(super) fn new(rate: Option<u32>, speed: Option<Speed>) -> Self {
        match (rate, speed) {
            (Some(rate), _) => Self::Rate { every: Duration::from_secs(1) / rate, next: None },
            (None, Some(Speed(factor))) => Self::Speed { factor, first: None },
            (None, None) => Self::Unlimited,
        }
    }

    /// Returns when the next event is due, given when it was recorded; none means immediately.
    pub(super) fn due(&mut self, recorded: DateTime<Utc>, now: Instant) -> Option<Instant> {
        match self {
            Self::Unlimited => None,
            Self::Rate { every, next } => {
                let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
                let due = next.map_or(now, |next| next.max(earliest));
                *next = Some(due + *every);
                Some(due)
            }
            Self::Speed { factor, first } => {
                let (begun, first) = first.get_or_insert((now, recorded));
                let since = (recorded - *first).to_std().unwrap_or_default();
                let since = Duration::try_from_secs_f64(since.as_secs_f64() / *factor);
                begun.checked_add(since.unwrap_or(Duration::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_above_zero() {
        assert_eq!("10x".parse(), Ok(Speed(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed(0.5)));
        for text in ["", "x", "0x", "-1x", "NaN", "inf"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_day_at_100x_keeps_its_proportions() {
        let mut pace = Pace::new(None, Some(Speed(100.0)));
        let (begun, midnight) = (Instant::now(), DateTime::<Utc>::UNIX_EPOCH);
        let mut sent = begun;
        for hour in [0, 0, 1, 12, 24] {
            let recorded = midnight + chrono::TimeDelta::hours(hour.into());
            let due = pace.due(recorded, sent).unwrap();
            assert_eq!(due - begun, Duration::from_secs(36) * hour);
            sent = due + MS(3); // Delays do not accumulate.
        }
    }

    #[test]
    fn a_rate_is_not_exceeded_after_an_outage() {
        let mut pace = Pace::new(Some(100), None);
        let begun = Instant::now();
        let recorded = DateTime::<Utc>::UNIX_EPOCH;
        let mut due = |now| pace.due(recorded, now).unwrap();
        assert_eq!(due(begun), begun);
        assert_eq!(due(begun), begun + MS(10));
        assert_eq!(due(begun + MS(14)), begun + MS(20), "it catches up with the delay of a timer");
        // After an outage of a minute, the missed events are not all due at once.
        let back = begun + MS(60_000);
        let at_once = (0..1_000).filter(|_| due(back) <= back).count();
        assert_eq!(at_once, 11);
    }

    #[test]
    fn without_rate_and_speed_events_are_due_immediately() {
        assert_eq!(Pace::new(None, None).due(DateTime::<Utc>::UNIX_EPOCH, Instant::now()), None);
    }
}
