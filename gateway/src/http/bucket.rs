//! Widths of time buckets in queries: `5m`, `1h`, `7d`.

use super::problem::Problem;
use crate::config::Span;

/// Widest bucket, in seconds: 366 days.
const MAX_WIDTH: u64 = 366 * 86_400;

/// The width of a bucket in seconds. Whole minutes, because the stored buckets are not finer.
pub(super) fn width(text: &str) -> Result<i32, Problem> {
    let seconds = text.parse().map(|Span(width)| width.as_secs()).unwrap_or_default();
    let whole_minutes = seconds > 0 && seconds <= MAX_WIDTH && seconds.is_multiple_of(60);
    i32::try_from(seconds).ok().filter(|_| whole_minutes).ok_or_else(|| {
        Problem::parameter(
            "bucket",
            "must be whole minutes, hours or days, such as 5m; at most 366d",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_whole_minutes() {
        for (text, seconds) in
            [("1m", 60), ("5m", 300), ("1h", 3_600), ("366d", 31_622_400), ("120s", 120)]
        {
            assert_eq!(width(text).unwrap(), seconds, "{text}");
        }
        for text in ["", "5", "m", "0m", "90s", "-1h", "367d", "1w", "99999999999999999999d"] {
            assert!(width(text).is_err(), "{text}");
        }
    }
}
