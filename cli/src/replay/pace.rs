//! How fast events are told again.

use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// How many times as fast as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed(f64);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
        let factor = factor.filter(|factor| factor.is_finite() && *factor > 0.0);
        factor.map(Self).ok_or("a factor above zero, such as `10x`")
    }
}

/// How much of the time that was lost a rate makes up for: what a timer oversleeps, not an outage.
const MADE_UP: Duration = Duration::from_millis(100);

/// When the next event is due.
#[derive(Debug)]
pub(super) enum Pace {
    /// At once.
    Free,
    Rate {
        every: Duration,
        next: Option<Instant>,
    },
    Speed {
        factor: f64,
        first: Option<(Instant, DateTime<Utc>)>,
    },
}

impl Pace {
    pub(super) fn new(rate: Option<u32>, speed: Option<Speed>) -> Self {
        match (rate, speed) {
            (Some(rate), _) => Self::Rate { every: Duration::from_secs(1) / rate, next: None },
            (None, Some(Speed(factor))) => Self::Speed { factor, first: None },
            (None, None) => Self::Free,
        }
    }

    /// When what was recorded then is due, if the one before it was told `now`. None: at once.
    pub(super) fn due(&mut self, recorded: DateTime<Utc>, now: Instant) -> Option<Instant> {
        match self {
            Self::Free => None,
            Self::Rate { every, next } => {
                let earliest = now.checked_sub(MADE_UP).unwrap_or(now);
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
    fn speeds_are_factors() {
        assert_eq!("10x".parse(), Ok(Speed(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed(0.5)));
        for text in ["", "x", "0x", "-1x", "NaN", "inf"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_day_at_a_hundred_times_its_speed_is_as_it_was_but_shorter() {
        let mut pace = Pace::new(None, Some(Speed(100.0)));
        let (begun, midnight) = (Instant::now(), DateTime::<Utc>::UNIX_EPOCH);
        let mut told = begun;
        for hour in [0, 0, 1, 12, 24] {
            let recorded = midnight + chrono::TimeDelta::hours(hour.into());
            let due = pace.due(recorded, told).unwrap();
            assert_eq!(due - begun, Duration::from_secs(36) * hour);
            told = due + MS(3); // Being late does not add up.
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
        assert_eq!(due(begun + MS(14)), begun + MS(20), "what a timer oversleeps is made up for");
        // Nothing could be told for a minute: what was not told then is not told all at once.
        let back = begun + MS(60_000);
        let at_once = (0..1_000).filter(|_| due(back) <= back).count();
        assert_eq!(at_once, 11);
    }

    #[test]
    fn without_either_everything_is_told_at_once() {
        assert_eq!(Pace::new(None, None).due(DateTime::<Utc>::UNIX_EPOCH, Instant::now()), None);
    }
}
