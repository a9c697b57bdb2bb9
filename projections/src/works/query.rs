//! Queries of works.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

use super::{Row, Status};
use crate::by_name::Named;
use crate::list::{CREATED, Key, Page, Section};

/// Conditions on works; `None` is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whether they are completed.
    pub done: Option<bool>,
    /// Status of the work.
    pub status: Option<Status>,
    /// Code of the work.
    pub work_code: Option<String>,
    /// Inclusive.
    pub created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub created_to: Option<DateTime<Utc>>,
}

impl Filter {
    /// The statuses that pass.
    fn statuses(&self) -> impl Iterator<Item = Status> {
        let passes = |status: &Status| {
            self.status.is_none_or(|wanted| wanted == *status)
                && self.done.is_none_or(|done| done == (*status == Status::Completed))
        };
        Status::ALL.iter().copied().filter(passes)
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, work_code, add_up_to, done, result, status, attempts, reason, version,
                    floor(extract(epoch from created_at))::bigint as created_on,
                    floor(extract(epoch from updated_at))::bigint as updated_on, created_at, updated_at
             from ",
            $rest
        )
    };
}

/// Returns the work of this id.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!("works.work where id = $1")).bind(id).fetch_optional(pool).await
}

/// Lists works, newest first, after the cursor `after`: time of creation and id of the last one seen.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new(select!("unnest("));
    query.push_bind(filter.statuses().map(Named::name).collect::<Vec<_>>());
    query.push(
        ") as each (value) cross join lateral (
           select * from works.work where true",
    );
    let section = Section::default()
        .by_some("work_code", filter.work_code.as_deref().map(Key::Text))
        .by("status", Key::Sql("each.value"));
    let page = Page { from: filter.created_from, to: filter.created_to, after, limit };
    section.newest_first(&mut query, CREATED, &page);
    query.push(") w order by created_at desc, id desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}

/// Returns at most `limit` works that may be claimed at the time `now` of the log's clock, longest due
/// first, and when the next one is due. A demanded work is due at once, whatever its time.
pub async fn claimable(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<(Vec<Uuid>, Option<DateTime<Utc>>), sqlx::Error> {
    let due = sqlx::query_scalar(DUE).bind(now).bind(limit).fetch_all(pool).await?;
    let next = sqlx::query_scalar(
        "select due_at from works.work where due_at > $1 and status <> 'demanded'
         order by due_at limit 1",
    )
    .bind(now)
    .fetch_optional(pool)
    .await?;
    Ok((due, next))
}

/// A work that is not due and not demanded is claimed or failed: there are few.
const DUE: &str = "select id from works.work
    where due_at is not null and (due_at <= $1 or status = 'demanded')
    order by due_at limit $2";
