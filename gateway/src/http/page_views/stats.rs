//! Numbers of page views and sessions, by page.

use chrono::{DateTime, TimeDelta, Utc};
use projections::page_views::{self, PageViews, Stats, StatsCursor, StatsFilter};

use super::super::bucket;
use super::super::prelude::*;

/// Range of a query without `from`, in hours.
const DEFAULT_HOURS: i64 = 24;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

/// Which page views, and how they are grouped.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// Only views of this page.
    #[param(example = "/pricing")]
    path: Option<String>,
    /// Only views of this time or later (RFC 3339; default one day before `to`). Rounded up to whole
    /// minutes, by which views are kept.
    from: Option<DateTime<Utc>>,
    /// Only views before this time (RFC 3339; default now). Rounded up like `from`. The first
    /// and the last bucket count only the views in between.
    to: Option<DateTime<Utc>>,
    /// Width of the time buckets: `1m`, `1h`, `1d` or a multiple. The default is one row per page
    /// for the whole range.
    #[param(example = "5m")]
    bucket: Option<String>,
    /// `desc` (default): latest first; `asc`: oldest first. Without buckets, by number of views.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

impl StatsQuery {
    fn parse(self, now: DateTime<Utc>) -> Result<StatsFilter, Problem> {
        let to = self.to.unwrap_or(now);
        let a_day_before = to.checked_sub_signed(TimeDelta::hours(DEFAULT_HOURS));
        let after: Option<StatsCursor> = page::after(self.cursor.as_ref())?;
        // No list ends at these values, and Postgres could not compare with them.
        let forged = |cursor: &StatsCursor| cursor.rank == i64::MIN || cursor.path.contains('\0');
        if after.as_ref().is_some_and(forged) {
            let detail = "must be a cursor from the `Link` header of this list";
            return Err(Problem::parameter("cursor", detail));
        }
        Ok(StatsFilter {
            path: self.path,
            from: self.from.or(a_day_before).unwrap_or(to),
            to,
            width: self.bucket.as_deref().map(bucket::width).transpose()?,
            descending: self.order == Order::Desc,
            limit: self.limit.into(),
            after,
        })
    }
}

/// Summarize page views
///
/// Number of views and of unique sessions by page, for each time bucket or for the whole range. A
/// row counts a session once, however many views it has. With buckets, the pages of the list are
/// consistent; without, rows may move between two pages of the list as views are recorded.
#[utoipa::path(
    get, path = "/api/v1/page-views/stats", tag = tags::PAGE_VIEWS,
    params(StatsQuery, QueryHeaders),
    responses((status = 200, description = "A page of numbers", body = Page<Stats>)),
)]
pub(super) async fn stats(
    context: QueryContext,
    Query(query): Query<StatsQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit;
    let query = query.parse(Utc::now())?;
    let rows = page_views::stats(context.pool(), &query);
    context.list(PageViews::NAME, limit, rows, Stats::cursor).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_cursor_is_refused() {
        let query = |rank, path: &str| StatsQuery {
            path: None,
            from: None,
            to: Some(DateTime::<Utc>::MIN_UTC),
            bucket: None,
            order: Order::Desc,
            limit: Limit::default(),
            cursor: Cursor::to(&StatsCursor { rank, path: path.into() }).ok(),
        };
        assert!(query(1, "/").parse(Utc::now()).is_ok());
        assert!(query(i64::MIN, "/").parse(Utc::now()).is_err());
        assert!(query(1, "/\0").parse(Utc::now()).is_err());
    }
}
