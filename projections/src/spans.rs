//! Ranges of time as stored buckets. Buckets are stored by the minute, the hour and the day; a list of
//! buckets of another width, or of a range that begins or ends within one, is made of several of them.

use std::ops::Range;

/// Widths of the stored buckets, in seconds.
pub(crate) const WIDTHS: [i32; 3] = [60, 3_600, 86_400];

/// Stored buckets of one width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// In seconds.
    pub(crate) width: i32,
    /// Start of the first bucket and end of the last one, in seconds since the epoch.
    pub(crate) range: Range<i64>,
}

/// Returns the last multiple of `step` at or before `time`.
pub(crate) fn floor(time: i64, step: i64) -> i64 {
    time.div_euclid(step) * step
}

/// Returns the first multiple of `step` at or after `time`.
pub(crate) fn ceil(time: i64, step: i64) -> i64 {
    -(-time).div_euclid(step) * step
}

/// Returns the widest stored width of which `width` is a multiple.
pub(crate) fn stored(width: i32) -> i32 {
    WIDTHS.into_iter().rev().find(|stored| width % stored == 0).unwrap_or(WIDTHS[0])
}

/// Returns the spans with the fewest stored buckets that cover the minutes of `range`: minutes and hours
/// at the ends, days in between.
pub(crate) fn cover(range: Range<i64>) -> Vec<Span> {
    fn fill(widths: &[i32], range: Range<i64>, spans: &mut Vec<Span>) {
        let Some((&width, narrower)) = widths.split_last() else { return };
        let step = i64::from(width);
        let (begin, end) = (ceil(range.start, step), floor(range.end, step));
        if begin < end {
            spans.push(Span { width, range: begin..end });
            fill(narrower, range.start..begin, spans);
            fill(narrower, end..range.end, spans);
        } else if range.start < range.end {
            fill(narrower, range, spans);
        }
    }
    let mut spans = Vec::new();
    fill(&WIDTHS, range, &mut spans);
    spans
}

/// A range of a list of buckets: the whole buckets in it, and what lies before and after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) head: Range<i64>,
    pub(crate) whole: Range<i64>,
    pub(crate) tail: Range<i64>,
}

impl Parts {
    /// Divides `range` at the ends of buckets of `width` seconds.
    pub(crate) fn of(range: Range<i64>, width: i32) -> Self {
        let step = i64::from(width);
        let (begin, end) = (ceil(range.start, step), floor(range.end, step));
        if begin > end {
            let none = range.end..range.end;
            return Self { head: range, whole: none.clone(), tail: none };
        }
        Self { head: range.start..begin, whole: begin..end, tail: end..range.end }
    }

    /// Ends the range with the whole bucket that begins at `last`, in this order.
    pub(crate) fn up_to(&mut self, last: i64, width: i32, descending: bool) {
        if descending {
            (self.whole.start, self.head) = (last, 0..0);
        } else {
            (self.whole.end, self.tail) = (last + i64::from(width), 0..0);
        }
    }

    /// Returns the stored buckets of the range: the widest possible ones of the whole buckets.
    pub(crate) fn spans(self, width: i32) -> Vec<Span> {
        let mut spans = cover(self.head);
        if !self.whole.is_empty() {
            spans.push(Span { width: stored(width), range: self.whole });
        }
        spans.extend(cover(self.tail));
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 86_400;

    fn spans(list: impl IntoIterator<Item = (i32, Range<i64>)>) -> Vec<Span> {
        list.into_iter().map(|(width, range)| Span { width, range }).collect()
    }

    #[test]
    fn a_range_is_covered_by_days_with_hours_and_minutes_at_its_ends() {
        let expected = spans([
            (86_400, DAY..3 * DAY),
            (3_600, DAY - HOUR..DAY),
            (60, DAY - HOUR - 60..DAY - HOUR),
            (3_600, 3 * DAY..3 * DAY + 2 * HOUR),
            (60, 3 * DAY + 2 * HOUR..3 * DAY + 2 * HOUR + 60),
        ]);
        assert_eq!(cover(DAY - HOUR - 60..3 * DAY + 2 * HOUR + 60), expected);
    }

    #[test]
    fn a_range_is_covered_once_whatever_its_ends() {
        let ends = [0, 60, 3_600, 7_320, 86_340, 86_400, 90_060, 300_000];
        for from in ends {
            for to in ends.into_iter().filter(|to| *to > from) {
                for width in [60, 300, 3_600, 7_200, 86_400] {
                    for mut spans in [cover(from..to), Parts::of(from..to, width).spans(width)] {
                        spans.sort_unstable_by_key(|span| span.range.start);
                        assert_eq!(spans[0].range.start, from, "{from} to {to}");
                        assert_eq!(spans[spans.len() - 1].range.end, to, "{from} to {to}");
                        let adjoin = |pair: &[Span]| pair[0].range.end == pair[1].range.start;
                        assert!(spans.windows(2).all(adjoin), "{from} to {to}");
                        assert!(spans.len() <= 7, "{from} to {to}");
                    }
                }
            }
            assert_eq!(cover(from..from), []);
        }
    }

    #[test]
    fn a_page_of_buckets_ends_with_a_whole_bucket() {
        let parts = Parts::of(1_800..9_000, 3_600);
        let up_to = |last, descending| {
            let mut parts = parts.clone();
            parts.up_to(last, 3_600, descending);
            parts.spans(3_600)
        };
        assert_eq!(up_to(3_600, false), spans([(60, 1_800..3_600), (3_600, 3_600..7_200)]));
        assert_eq!(up_to(3_600, true), spans([(3_600, 3_600..7_200), (60, 7_200..9_000)]));
        assert_eq!(Parts::of(60..120, 3_600).spans(3_600), spans([(60, 60..120)]));
    }

    #[test]
    fn a_multiple_is_made_of_the_widest_stored_width_that_divides_it() {
        assert_eq!(stored(300), 60);
        assert_eq!(stored(6 * 3_600), 3_600);
        assert_eq!(stored(7 * 86_400), 86_400);
        assert_eq!(stored(86_400), 86_400);
    }

    #[test]
    fn a_bucket_begins_at_a_multiple_of_its_width() {
        assert_eq!([0, 59, 60, -1].map(|second| floor(second, 60)), [0, 0, 60, -60]);
        assert_eq!([0, 59, 60, -1].map(|second| ceil(second, 60)), [0, 60, 60, 0]);
    }
}
