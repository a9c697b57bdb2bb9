//! The times accepted from clocks of devices and hosts, which may be wrong.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::span::Span;

/// How far the time of a reading or a sample may lie from its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// Maximum time after the receipt, at most [`Self::MAX_AHEAD`].
    pub ahead: Duration,
    /// Maximum time before the receipt; `None` accepts all times since `earliest`.
    pub behind: Option<Duration>,
    /// Earliest time of a clock that is set, in epoch seconds, at least [`Self::EARLIEST`].
    pub earliest: i64,
}

impl TimeWindow {
    /// The window of an unconfigured process.
    pub const DEFAULT: Self =
        Self { ahead: Duration::from_hours(24), behind: None, earliest: 1_262_304_000 };
    /// Smallest configurable [`Self::earliest`] (2000-01-01). No reading is older.
    pub const EARLIEST: i64 = 946_684_800;
    /// Largest configurable [`Self::ahead`].
    pub const MAX_AHEAD: Duration = Duration::from_hours(30 * 24);

    /// Returns whether `time` comes from a clock that was never set: such a clock starts in 1970 or 2000.
    pub fn is_unset(&self, time: DateTime<Utc>) -> bool {
        time.timestamp() < self.earliest
    }

    /// Checks the time of something received at `received_at`.
    ///
    /// # Errors
    /// Returns an error if the time is outside of the window.
    pub fn check(
        &self,
        time: DateTime<Utc>,
        received_at: DateTime<Utc>,
    ) -> Result<(), OutsideWindow> {
        let span = |of: Duration| TimeDelta::from_std(of).unwrap_or(TimeDelta::MAX);
        let distance = time - received_at;
        let early = self.behind.is_some_and(|behind| -distance > span(behind));
        if distance > span(self.ahead) || early || self.is_unset(time) {
            return Err(OutsideWindow(*self));
        }
        Ok(())
    }
}

impl Default for TimeWindow {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The time is outside of this window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct OutsideWindow(TimeWindow);

impl fmt::Display for OutsideWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimeWindow { ahead, behind, earliest } = self.0;
        let earliest = DateTime::from_timestamp(earliest, 0).unwrap_or_default();
        write!(
            f,
            "`time` is more than {} ahead of the receipt, before {}",
            Span(ahead),
            earliest.format("%F")
        )?;
        match behind {
            Some(behind) => write!(f, ", or more than {} before the receipt", Span(behind)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_accepted_up_to_the_ends_of_the_window() {
        let at = |seconds| DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        let accepts = |window: TimeWindow, seconds| window.check(at(seconds), at(0)).is_ok();
        let default = TimeWindow::DEFAULT;
        assert!(accepts(default, 24 * 3600) && !accepts(default, 24 * 3600 + 1));
        let first = default.earliest - 1_700_000_000;
        assert!(accepts(default, first) && !accepts(default, first - 1));
        let behind = Some(Duration::from_mins(1));
        let narrow = TimeWindow { ahead: Duration::ZERO, behind, ..default };
        assert!(accepts(narrow, 0) && !accepts(narrow, 1));
        assert!(accepts(narrow, -60) && !accepts(narrow, -61));
        let refused = narrow.check(at(-61), at(0)).unwrap_err().to_string();
        assert!(refused.ends_with("or more than 1m before the receipt"), "{refused}");
    }
}
