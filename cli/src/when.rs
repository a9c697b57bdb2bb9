//! Times on the command line, as people write them.

use std::str::FromStr;

use chrono::{DateTime, Local, SecondsFormat, Utc};
use interim::{Dialect, parse_date_string};

/// A time, written in RFC 3339 or in English, relative to now and in the local time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When(pub(super) DateTime<Utc>);

impl When {
    /// Returns the time in RFC 3339, for a parameter of the API.
    pub(super) fn parameter(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

/// Returns the time as a parameter of the API, if there is one.
pub(super) fn parameter(when: Option<When>) -> Option<String> {
    when.map(When::parameter)
}

impl FromStr for When {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        parse(text, Local::now()).map(Self)
    }
}

/// A time that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a time as `2026-11-26T14:00:00Z` (RFC 3339), `2026-11-26 14:00`, `14:00`, `2 hours ago`, \
     `yesterday`, `last friday 9:00` or `now`; times without an offset are local"
)]
pub(super) struct InvalidTime;

fn parse<Z: chrono::TimeZone>(text: &str, now: DateTime<Z>) -> Result<DateTime<Utc>, InvalidTime> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text.trim()) {
        return Ok(time.to_utc());
    }
    // The library takes a number for a year.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidTime);
    }
    let time = parse_date_string(text.trim(), now, Dialect::Uk);
    time.map(|time| time.to_utc()).map_err(|_unreadable| InvalidTime)
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, TimeZone};

    use super::*;

    #[test]
    fn people_write_times_in_many_ways() {
        // A Thursday, two hours east of Greenwich.
        let zone = FixedOffset::east_opt(7200).unwrap();
        let now = zone.with_ymd_and_hms(2026, 11, 26, 14, 30, 0).unwrap();
        for (text, expected) in [
            ("2026-11-26T14:00:00Z", "2026-11-26T14:00:00Z"),
            ("2026-11-26T14:00:00.25+01:00", "2026-11-26T13:00:00.250Z"),
            ("2026-11-26 14:00", "2026-11-26T12:00:00Z"),
            ("2026-11-26", "2026-11-25T22:00:00Z"),
            ("14:00", "2026-11-26T12:00:00Z"),
            ("2 hours ago", "2026-11-26T10:30:00Z"),
            ("90 minutes ago", "2026-11-26T11:00:00Z"),
            ("15m ago", "2026-11-26T12:15:00Z"),
            ("3 days ago", "2026-11-23T12:30:00Z"),
            ("yesterday 8:00", "2026-11-25T06:00:00Z"),
            ("last friday 9:00", "2026-11-20T07:00:00Z"),
            ("yesterday", "2026-11-25T12:30:00Z"),
            ("last week", "2026-11-19T12:30:00Z"),
            ("now", "2026-11-26T12:30:00Z"),
        ] {
            let parsed = parse(text, now).map(|time| When(time).parameter());
            assert_eq!(parsed.as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "soon", "26.11.", "2026-13-01", "two hours", "10"] {
            let error = parse(text, now).map(|time| When(time).parameter()).unwrap_err();
            assert!(error.to_string().contains("2 hours ago"), "{text}");
        }
    }
}
