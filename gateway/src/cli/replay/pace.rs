//! How fast events are told again.

use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use eventstore::RawEvent;

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

/// When the next event is due.
#[derive(Debug)]
pub(super) enum Pace {
    /// At once.
    Free,
    Rate {
        begun: Instant,
        every: Duration,
        told: u32,
    },
    Speed {
        factor: f64,
        first: Option<(Instant, DateTime<Utc>)>,
    },
}

impl Pace {
    pub(super) fn new(rate: Option<u32>, speed: Option<Speed>) -> Self {
        match (rate, speed) {
            (Some(rate), _) => {
                let every = Duration::from_secs(1) / rate;
                Self::Rate { begun: Instant::now(), every, told: 0 }
            }
            (None, Some(Speed(factor))) => Self::Speed { factor, first: None },
            (None, None) => Self::Free,
        }
    }

    /// None: at once.
    pub(super) fn due(&mut self, event: &RawEvent) -> Option<Instant> {
        match self {
            Self::Free => None,
            Self::Rate { begun, every, told } => {
                let due = begun.checked_add(*every * *told)?;
                *told += 1;
                if *told == 1_000_000 {
                    (*begun, *told) = (due + *every, 0); // Far from where the product ends.
                }
                Some(due)
            }
            Self::Speed { factor, first } => {
                let (begun, recorded_at) = first.get_or_insert((Instant::now(), event.recorded_at));
                let since = (event.recorded_at - *recorded_at).to_std().unwrap_or_default();
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
}
