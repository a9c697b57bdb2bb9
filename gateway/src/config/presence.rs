//! Options of the presence of devices, which the worker tracks.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use domain::telemetry::presence::InactiveAfter;
use serde::Serialize;

use super::Span;

/// Bounds of the interval between two checks: shorter ones cost too much, longer ones are too late.
const TICKS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);

/// Presence of devices.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Presence")]
pub struct Presence {
    /// Time without a message after which a device is offline, with a unit; users may set their own
    #[arg(long, env = "DEVICE_INACTIVE_AFTER", value_name = "TIME", default_value = "15m")]
    pub device_inactive_after: Span,
    /// Interval between two checks of all devices, with a unit, 10ms to 1m; a check of very many
    /// devices may take longer
    #[arg(long, env = "PRESENCE_TICK", value_name = "TIME", default_value = "1s")]
    pub presence_tick: Span,
}

impl Presence {
    /// Returns one message for each value that is out of bounds.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = String> {
        let silence = InactiveAfter::try_from(self.device_inactive_after.0).err();
        let silence = silence.map(|error| format!("--device-inactive-after: {error}"));
        let tick = (!TICKS.contains(&self.presence_tick.0))
            .then(|| "--presence-tick must be between 10 ms and 1 minute".to_owned());
        silence.into_iter().chain(tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_bounds_are_mistakes() {
        let mistakes = |after: &str, tick: &str| {
            let presence = Presence {
                device_inactive_after: after.parse().unwrap(),
                presence_tick: tick.parse().unwrap(),
            };
            presence.mistakes().count()
        };
        assert_eq!(mistakes("15m", "1s"), 0);
        assert_eq!(mistakes("999ms", "1s"), 1);
        assert_eq!(mistakes("8d", "0ms"), 2);
    }
}
