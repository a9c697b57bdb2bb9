//! Queries of page views.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, QueryBuilder};
use utoipa::ToSchema;

use super::rollup::WIDTHS;
use super::rollup::key_of;
use crate::list::{Key, Section};

/// The views of a page, in one bucket or in the whole range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = PageViewStats)]
pub struct Stats {
    /// Path of the page.
    pub path: String,
    /// Start of the bucket; buckets are aligned to the Unix epoch. Null for the whole range.
    pub time: Option<DateTime<Utc>>,
    /// Number of views.
    pub views: i64,
    /// Distinct sessions. A view without a session counts towards none.
    pub unique_sessions: i64,
}

/// A page of the statistics of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsFilter {
    /// `None` for all pages.
    pub path: Option<String>,
    /// Inclusive; rounded down to whole minutes, or whole buckets.
    pub from: DateTime<Utc>,
    /// Exclusive; rounded up likewise.
    pub to: DateTime<Utc>,
    /// Width of a bucket in seconds, a multiple of 60; `None` for one row per page.
    pub width: Option<i32>,
    /// Latest bucket first; without buckets, most viewed page first.
    pub descending: bool,
    /// Most rows returned.
    pub limit: i64,
    /// The last row of the previous page; `None` for the first page.
    pub after: Option<StatsCursor>,
}

/// Cursor of a list of statistics: the row it stands at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsCursor {
    /// Start of the bucket in seconds since the epoch; without buckets, the number of views.
    pub rank: i64,
    /// Path of the page.
    pub path: String,
}

impl Stats {
    /// The cursor that continues after this row.
    pub fn cursor(&self) -> StatsCursor {
        let rank = self.time.map_or(self.views, |time| time.timestamp());
        StatsCursor { rank, path: self.path.clone() }
    }
}

/// Width of the stored buckets to read, start and end; all in seconds.
type Span = (i32, i64, i64);

/// Returns the spans with the fewest stored buckets that cover the minutes from `from` to `to`: minutes
/// and hours at the ends, days in between.
fn cover(from: i64, to: i64) -> Vec<Span> {
    fn fill(widths: &[i32], from: i64, to: i64, spans: &mut Vec<Span>) {
        let Some((&width, narrower)) = widths.split_last() else { return };
        let step = i64::from(width);
        let (begin, end) = (ceil(from, step), to.div_euclid(step) * step);
        if begin < end {
            spans.push((width, begin, end));
            fill(narrower, from, begin, spans);
            fill(narrower, end, to, spans);
        } else if from < to {
            fill(narrower, from, to, spans);
        }
    }
    let mut spans = Vec::new();
    let minute = WIDTHS[0].into();
    fill(&WIDTHS, from.div_euclid(minute) * minute, ceil(to, minute), &mut spans);
    spans
}

fn ceil(time: i64, step: i64) -> i64 {
    -(-time).div_euclid(step) * step
}

impl StatsFilter {
    /// Start and end in seconds. A second that has begun is included.
    fn seconds(&self) -> (i64, i64) {
        (self.from.timestamp(), ceil(self.to.timestamp_micros(), 1_000_000) / 1_000_000)
    }

    fn spans(&self) -> Vec<Span> {
        let (from, to) = self.seconds();
        cover(from, to)
    }

    /// The rows of one page, or of all.
    fn section(&self) -> Section<'static> {
        let page = self.path.as_deref().map(|path| Key::Uuid(key_of(path)));
        Section::default().by_some("page", page)
    }

    /// The span of a list of buckets of `width` seconds.
    fn span(&self, width: i32) -> Span {
        let (from, to) = self.seconds();
        let step = i64::from(width);
        (stored(width), from.div_euclid(step) * step, ceil(to, step))
    }
}

/// Returns the widest stored width of which `width` is a multiple.
fn stored(width: i32) -> i32 {
    WIDTHS.into_iter().rev().find(|stored| width % stored == 0).unwrap_or(WIDTHS[0])
}

/// Narrows the span of a list of buckets to those of one page: from the bucket of its cursor to the first
/// bucket after which there are enough rows. Otherwise each page would read the rest of the range.
async fn narrow(pool: &PgPool, filter: &StatsFilter, width: i32) -> Result<Span, sqlx::Error> {
    let (stored, mut begin, mut finish) = filter.span(width);
    let step = i64::from(width);
    // All rows of the cursor's bucket are read: only their paths tell which ones follow.
    let (mut first, mut last) = (begin, finish);
    if let Some(cursor) = &filter.after {
        let start = cursor.rank.min(finish).max(begin);
        if filter.descending {
            (last, finish) = (start, finish.min(start + step));
        } else {
            (first, begin) = (finish.min(start + step), start);
        }
    }
    let mut query = QueryBuilder::new(
        "select extract(epoch from bucket)::bigint from page_views.rollup where true",
    );
    let section = filter.section();
    section.compare(&mut query, "width, bucket", ">=", |query| {
        query.push_bind(stored).push(", to_timestamp(").push_bind(first).push(")");
    });
    section.compare(&mut query, "width, bucket", "<", |query| {
        query.push_bind(stored).push(", to_timestamp(").push_bind(last).push(")");
    });
    query.push(" order by ");
    query.push(match (filter.path.is_some(), filter.descending) {
        (false, false) => "width, bucket",
        (false, true) => "width desc, bucket desc",
        (true, false) => "page, width, bucket",
        (true, true) => "page desc, width desc, bucket desc",
    });
    // A row of the list is made of at most so many stored ones.
    let ratio = step / i64::from(stored);
    query.push(" limit 1 offset ").push_bind(filter.limit.saturating_mul(ratio));
    let enough: Option<i64> = query.build_query_scalar().fetch_optional(pool).await?;
    match enough.map(|second| second.div_euclid(step) * step) {
        Some(start) if filter.descending => begin = start,
        Some(start) => finish = start + step,
        None => {}
    }
    Ok((stored, begin, finish))
}

/// Lists statistics, by time or by views, then by path. Without buckets, each page adds up the views of
/// all pages in the range, since their order depends on them.
pub async fn stats(pool: &PgPool, filter: &StatsFilter) -> Result<Vec<Stats>, sqlx::Error> {
    let spans = match filter.width {
        Some(width) => vec![narrow(pool, filter, width).await?],
        None => filter.spans(),
    };
    let sign = if filter.descending { -1_i64 } else { 1 };
    let is_stored = filter.width.is_some_and(|width| width == stored(width));
    let column = |of: fn(&Span) -> i64| spans.iter().map(of).collect::<Vec<_>>();
    let mut query = QueryBuilder::new(
        "with span as (
           select width, to_timestamp(begin) as begin, to_timestamp(finish) as finish
           from unnest(",
    );
    query.push_bind(spans.iter().map(|(width, ..)| *width).collect::<Vec<_>>());
    query.push(", ").push_bind(column(|(_, begin, _)| *begin));
    query.push(", ").push_bind(column(|(.., finish)| *finish));
    query.push(
        ") as s (width, begin, finish)
         ), part as (
           select page, views, sessions, date_bin(make_interval(secs => ",
    );
    query.push_bind(filter.width.map(f64::from));
    query.push(
        "), bucket, 'epoch') as time
           from span s cross join lateral (
             select * from page_views.rollup where true",
    );
    let section = filter.section();
    section.compare(&mut query, "width, bucket", ">=", |query| {
        query.push("s.width, s.begin");
    });
    section.compare(&mut query, "width, bucket", "<", |query| {
        query.push("s.width, s.finish");
    });
    query.push(
        " offset 0) r
         ), summed as (
           select page, time, sum(views)::bigint as views, sum(sessions)::bigint as sessions
           from part group by page, time
         ), ranked as (
           select p.path, r.*, ",
    );
    query.push_bind(sign);
    query.push(
        " * coalesce(extract(epoch from time)::bigint, views) as rank
           from summed r cross join lateral (
             select path from page_views.page where id = r.page offset 0
           ) p
         ), listed as (
           select * from ranked",
    );
    if let Some(after) = &filter.after {
        query.push(" where (rank, path) > (").push_bind(sign.saturating_mul(after.rank));
        query.push(", ").push_bind(&after.path).push(")");
    }
    query.push(" order by rank, path limit ").push_bind(filter.limit);
    // The sessions of one stored bucket are stored; those of several are counted, and only for the rows
    // of this page.
    query.push(")\nselect path, time, views, ");
    if is_stored {
        query.push("sessions");
    } else {
        query.push(
            "(select count(distinct v.session)
              from span s cross join lateral (
                select session from page_views.visit
                where page = l.page and width = s.width
                  and bucket >= greatest(s.begin, l.time)
                  and bucket < least(s.finish, l.time + make_interval(secs => ",
        );
        query.push_bind(filter.width.map(f64::from)).push(")) offset 0) v)");
    }
    query.push(" as unique_sessions from listed l order by rank, path");
    query.build_query_as().fetch_all(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 86_400;

    #[test]
    fn a_range_is_covered_by_days_with_hours_and_minutes_at_its_ends() {
        let spans = cover(DAY - HOUR - 60, 3 * DAY + 2 * HOUR + 30);
        let expected = [
            (86_400, DAY, 3 * DAY),
            (3_600, DAY - HOUR, DAY),
            (60, DAY - HOUR - 60, DAY - HOUR),
            (3_600, 3 * DAY, 3 * DAY + 2 * HOUR),
            (60, 3 * DAY + 2 * HOUR, 3 * DAY + 2 * HOUR + 60),
        ];
        assert_eq!(spans, expected);
    }

    #[test]
    fn a_range_is_covered_once_whatever_its_ends() {
        let ends = [0, 1, 59, 60, 61, 3_599, 3_600, 7_300, 86_399, 86_400, 90_061, 300_000];
        for from in ends {
            for to in ends.into_iter().filter(|to| *to > from) {
                let mut spans = cover(from, to);
                spans.sort_unstable_by_key(|(_, begin, _)| *begin);
                assert_eq!(spans[0].1, from.div_euclid(60) * 60, "{from} to {to}");
                assert_eq!(spans[spans.len() - 1].2, ceil(to, 60), "{from} to {to}");
                assert!(spans.windows(2).all(|pair| pair[0].2 == pair[1].1), "{from} to {to}");
                assert!(spans.len() <= 5, "{from} to {to}");
            }
            assert_eq!(cover(from, from).len(), usize::from(from % 60 != 0), "{from}");
        }
        assert_eq!(cover(120, 60), []);
    }

    #[test]
    fn a_multiple_is_made_of_the_widest_stored_width_that_divides_it() {
        assert_eq!(stored(300), 60);
        assert_eq!(stored(6 * 3_600), 3_600);
        assert_eq!(stored(7 * 86_400), 86_400);
        assert_eq!(stored(86_400), 86_400);
    }
}
