//! Queries of page views.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool, QueryBuilder};
use utoipa::ToSchema;

use super::rollup::key_of;
use crate::list::{Key, Section};
use crate::spans::{Parts, Span, WIDTHS, ceil, cover, floor, stored};

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
    /// Inclusive; rounded up to whole minutes.
    pub from: DateTime<Utc>,
    /// Exclusive; rounded up to whole minutes.
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

impl StatsFilter {
    /// The minutes of the range, in seconds: views are kept by the minute.
    fn minutes(&self) -> Range<i64> {
        let minute = |time: DateTime<Utc>| {
            ceil(time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0), WIDTHS[0].into())
        };
        minute(self.from)..minute(self.to)
    }

    /// The rows of one page, or of all.
    fn section(&self) -> Section<'static> {
        let page = self.path.as_deref().map(|path| Key::Uuid(key_of(path)));
        Section::default().by_some("page", page)
    }
}

/// Returns the stored buckets of one page of a list of buckets: from the bucket of its cursor to the
/// first bucket after which there are enough rows. Otherwise each page would read the rest of the range.
async fn narrow(pool: &PgPool, filter: &StatsFilter, width: i32) -> Result<Vec<Span>, sqlx::Error> {
    let (stored, step) = (stored(width), i64::from(width));
    let mut range = filter.minutes();
    let cursor = filter.after.as_ref().map(|cursor| cursor.rank);
    // All rows of the cursor's bucket are read: only their paths tell which ones follow.
    match cursor {
        Some(start) if filter.descending => range.end = range.end.min(start.saturating_add(step)),
        Some(start) => range.start = range.start.max(start),
        None => {}
    }
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = Parts::of(range, width);
    let mut following = parts.whole.clone();
    match cursor {
        Some(start) if filter.descending => following.end = following.end.min(start),
        Some(start) => following.start = following.start.max(start.saturating_add(step)),
        None => {}
    }
    if following.is_empty() {
        return Ok(parts.spans(width));
    }
    let mut query = QueryBuilder::new(
        "select extract(epoch from bucket)::bigint from page_views.rollup where true",
    );
    let section = filter.section();
    section.compare(&mut query, "width, bucket", ">=", |query| {
        query.push_bind(stored).push(", to_timestamp(").push_bind(following.start).push(")");
    });
    section.compare(&mut query, "width, bucket", "<", |query| {
        query.push_bind(stored).push(", to_timestamp(").push_bind(following.end).push(")");
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
    if let Some(second) = enough {
        parts.up_to(floor(second, step), width, filter.descending);
    }
    Ok(parts.spans(width))
}

/// Lists statistics, by time or by views, then by path. Without buckets, each page adds up the views of
/// all pages in the range, since their order depends on them.
pub async fn stats(pool: &PgPool, filter: &StatsFilter) -> Result<Vec<Stats>, sqlx::Error> {
    let spans = match filter.width {
        Some(width) => narrow(pool, filter, width).await?,
        None => cover(filter.minutes()),
    };
    let sign = if filter.descending { -1_i64 } else { 1 };
    let column = |of: fn(&Span) -> i64| spans.iter().map(of).collect::<Vec<_>>();
    let mut query = QueryBuilder::new(
        "with span as (
           select width, to_timestamp(begin) as begin, to_timestamp(finish) as finish
           from unnest(",
    );
    query.push_bind(spans.iter().map(|span| span.width).collect::<Vec<_>>());
    query.push(", ").push_bind(column(|span| span.range.start));
    query.push(", ").push_bind(column(|span| span.range.end));
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
           select page, time, sum(views)::bigint as views, sum(sessions)::bigint as sessions,
                  count(*) as parts
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
    query.push(
        ")
         select path, time, views, case when parts = 1 then sessions else (
           select count(distinct v.session)
           from span s cross join lateral (
             select session from page_views.visit
             where page = l.page and width = s.width
               and bucket >= greatest(s.begin, l.time)
               and bucket < least(s.finish, l.time + make_interval(secs => ",
    );
    query.push_bind(filter.width.map(f64::from));
    query.push(
        ")) offset 0) v) end as unique_sessions
         from listed l order by rank, path",
    );
    query.build_query_as().fetch_all(pool).await
}
