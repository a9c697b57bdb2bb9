//! Options of the read model of telemetry, which the projector keeps.

use std::time::Duration;

use clap::Args;
use projections::telemetry::Limits;
use serde::Serialize;

use super::Span;

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Longest range with a partition per week: each query locks every partition.
const MAX_RANGE: Duration = Duration::from_secs(3_650 * DAY);

/// Read model of telemetry. The projector that started last decides, and a rebuild applies the same.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Telemetry")]
pub struct Telemetry {
    /// Numeric fields that a device has buckets of, besides temperature and battery, 0 to 10000; values
    /// of further fields are kept with their readings and counted, and are in no bucket
    #[arg(long, env = "TELEMETRY_FIELDS_PER_DEVICE", value_name = "COUNT", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub telemetry_fields_per_device: u32,
    /// Age up to which readings have a partition per week, with a unit, at most 3650d; older ones share
    /// one partition. A rebuild of telemetry applies a new value
    #[arg(long, env = "TELEMETRY_PARTITIONS_BACK", value_name = "TIME", default_value = "728d")]
    pub telemetry_partitions_back: Span,
    /// How far ahead of now readings have a partition per week, with a unit, at most 3650d; later ones
    /// share one partition until their week comes nearer
    #[arg(long, env = "TELEMETRY_PARTITIONS_AHEAD", value_name = "TIME", default_value = "28d")]
    pub telemetry_partitions_ahead: Span,
}

impl Telemetry {
    /// Returns the options in the terms of `projections`.
    pub fn limits(&self) -> Limits {
        Limits {
            fields_per_device: self.telemetry_fields_per_device,
            partitions_back: self.telemetry_partitions_back.0,
            partitions_ahead: self.telemetry_partitions_ahead.0,
        }
    }

    /// Returns one message for each value that is out of bounds.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = String> {
        let ranges = [
            ("--telemetry-partitions-back", self.telemetry_partitions_back),
            ("--telemetry-partitions-ahead", self.telemetry_partitions_ahead),
        ];
        let too_long = ranges.into_iter().filter(|(_, span)| span.0 > MAX_RANGE);
        too_long.map(|(name, _)| format!("{name} must be at most 3650d"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ranges_are_mistakes() {
        let mistakes = |back: &str, ahead: &str| {
            let telemetry = Telemetry {
                telemetry_fields_per_device: 128,
                telemetry_partitions_back: back.parse().unwrap(),
                telemetry_partitions_ahead: ahead.parse().unwrap(),
            };
            telemetry.mistakes().count()
        };
        assert_eq!(mistakes("728d", "0s"), 0);
        assert_eq!(mistakes("3651d", "4000d"), 2);
    }
}
