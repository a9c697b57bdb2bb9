//! Times in the formats of others.

use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer};

/// The unit of a time that is a number since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[default]
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl Unit {
    /// Microseconds of one unit; less than 1 for nanoseconds.
    fn microseconds(self) -> f64 {
        match self {
            Self::Seconds => 1e6,
            Self::Milliseconds => 1e3,
            Self::Microseconds => 1.0,
            Self::Nanoseconds => 1e-3,
        }
    }

    fn whole(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1_000_000),
            Self::Milliseconds => number.checked_mul(1_000),
            Self::Microseconds => Some(number),
            Self::Nanoseconds => Some(number.div_euclid(1_000)),
        }
    }
}

/// How a mapping reads times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TimeFormat {
    pub(super) unit: Unit,
    /// The offset of texts that have none.
    pub(super) offset: Option<FixedOffset>,
}

impl TimeFormat {
    /// Reads a time: RFC 3339 text, also with a space for `T` and an offset without colon; the same
    /// without offset, if the mapping gives one; or a number in the mapping's unit. Truncated to
    /// microseconds. `None` if it is no time.
    pub(super) fn read(self, text: &str) -> Option<DateTime<Utc>> {
        if let Ok(number) = text.parse() {
            return self.unit.whole(number).and_then(DateTime::from_timestamp_micros);
        }
        if let Ok(number) = text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, reason = "out of range is no time below")]
            let micros = (number * self.unit.microseconds()).round() as i64;
            return number.is_finite().then_some(micros).and_then(DateTime::from_timestamp_micros);
        }
        let text = text.replacen(' ', "T", 1);
        let with_offset = DateTime::parse_from_rfc3339(&text)
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"));
        let time = match with_offset {
            Ok(time) => time,
            Err(_) => NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
                .ok()?
                .and_local_timezone(self.offset?)
                .single()?,
        };
        DateTime::from_timestamp_micros(time.timestamp_micros())
    }
}

/// Decodes an offset from UTC: `+01:00`.
pub(super) fn offset<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<FixedOffset>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_unreadable| {
        serde::de::Error::custom(format_args!("`{text}` is not an offset from UTC, such as +01:00"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_formats_are_read() {
        let read = |text: &str, unit, offset: Option<&str>| {
            let offset = offset.map(|offset| offset.parse().unwrap());
            let time = TimeFormat { unit, offset }.read(text);
            time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
        };
        let at = Some("2023-11-14T22:13:20Z".to_owned());
        let ms = Unit::Milliseconds;
        for (text, unit, offset) in [
            ("2023-11-14T22:13:20Z", ms, None),
            ("2023-11-14T22:13:20.000000000+00:00", ms, None),
            ("2023-11-14 23:13:20+01:00", ms, None),
            ("2023-11-14T23:13:20+0100", ms, Some("+05:00")),
            ("2023-11-14T23:13:20", ms, Some("+01:00")),
            ("2023-11-14 23:13:20", ms, Some("+01:00")),
            ("1700000000", Unit::Seconds, None),
            ("1700000000.0", Unit::Seconds, None),
            ("1.7e12", ms, None),
            ("1700000000000", ms, None),
            ("1700000000000000", Unit::Microseconds, None),
            ("1700000000000000999", Unit::Nanoseconds, None),
        ] {
            assert_eq!(read(text, unit, offset), at, "{text}");
        }
        assert_eq!(read("1700000000.44", Unit::Seconds, None).unwrap(), "2023-11-14T22:13:20.440Z");
        for text in ["", "now", "2023-11-14T22:13:20", "1e300", "NaN", "true"] {
            assert_eq!(read(text, ms, None), None, "{text}");
        }
    }
}
