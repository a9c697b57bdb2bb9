//! Limits on readings and host samples, at every door.

use chrono::{DateTime, Utc};
use clap::Args;
use domain::TimeWindow;
use domain::telemetry::Limits;
use serde::Serialize;

use super::Span;

/// Readings of devices, over MQTT and HTTP. Set the same limits on all processes.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Readings")]
pub struct Readings {
    /// Deepest nesting of objects and arrays in a reading, in levels, the reading itself being the
    /// first; 1 to 64
    #[arg(long, env = "READING_MAX_DEPTH", value_name = "LEVELS", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub reading_max_depth: u32,
    /// Most fields of a reading besides the known ones; 0 to 1024
    #[arg(long, env = "READING_MAX_FIELDS", value_name = "COUNT", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub reading_max_fields: u32,
    /// Longest name of a field of a reading, at any depth, in bytes; 1 to 1024
    #[arg(long, env = "READING_MAX_NAME", value_name = "BYTES", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub reading_max_name: u32,
    /// Longest time that a reading or host sample may lie after its receipt, with a unit; at most 30d
    #[arg(long, env = "READING_MAX_AHEAD", value_name = "TIME", default_value = "24h")]
    pub reading_max_ahead: Span,
    /// Longest time that a reading or host sample may lie before its receipt, with a unit; without it,
    /// times since the earliest one are accepted
    #[arg(long, env = "READING_MAX_AGE", value_name = "TIME")]
    pub reading_max_age: Option<Span>,
    /// Earliest time of a clock that is set, RFC 3339, 2000-01-01T00:00:00Z or later: a reading with an
    /// earlier one gets the time of its receipt and is marked, a host sample is refused
    #[arg(
        long,
        env = "READING_EARLIEST_TIME",
        value_name = "TIME",
        default_value = "2010-01-01T00:00:00Z"
    )]
    pub reading_earliest_time: DateTime<Utc>,
    /// Silence after which a device without boot ids may have restarted its counter, with a unit: a
    /// sequence number that was recorded before, with other values, is recorded again then
    #[arg(long, env = "READING_RESTART_SILENCE", value_name = "TIME", default_value = "5m")]
    pub reading_restart_silence: Span,
}

impl Readings {
    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        Limits {
            depth: self.reading_max_depth as usize,
            fields: self.reading_max_fields as usize,
            name_bytes: self.reading_max_name as usize,
            time: TimeWindow {
                ahead: self.reading_max_ahead.0,
                behind: self.reading_max_age.map(|age| age.0),
                earliest: self.reading_earliest_time.timestamp(),
            },
            restart_silence: self.reading_restart_silence.0,
        }
    }

    /// Returns one message for each value that is out of bounds.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = String> {
        let far = self.reading_max_ahead.0 > TimeWindow::MAX_AHEAD;
        let far = far.then(|| {
            format!("--reading-max-ahead must be at most {}", Span(TimeWindow::MAX_AHEAD))
        });
        let early = self.reading_earliest_time.timestamp() < TimeWindow::EARLIEST;
        let early = early
            .then(|| "--reading-earliest-time must be 2000-01-01T00:00:00Z or later".to_owned());
        far.into_iter().chain(early)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn the_default_limits_are_those_of_the_domain() {
        let config = Config::private("postgres://h/d", "nats://h", "mqtt://h", "k".as_ref());
        let mut readings = config.unwrap().readings;
        assert_eq!(readings.limits(), Limits::DEFAULT);
        assert_eq!(readings.mistakes().count(), 0);
        let most = (64, 1024, 1024);
        assert_eq!((Limits::MAX_DEPTH, Limits::MAX_FIELDS, Limits::MAX_NAME_BYTES), most);
        readings.reading_max_ahead = "31d".parse().unwrap();
        readings.reading_earliest_time = DateTime::UNIX_EPOCH;
        let mistakes: Vec<_> = readings.mistakes().collect();
        assert_eq!(mistakes[0], "--reading-max-ahead must be at most 30d");
        assert!(mistakes[1].starts_with("--reading-earliest-time must be 2000"), "{mistakes:?}");
    }
}
