//! Pieces of list queries. A list is one statement for each combination of its conditions, put together
//! from static pieces that follow `where true`. A plan for `$1 is null or owner = $1` could not use the
//! index on `owner`, and would walk the rows of all owners.
//!
//! A list lies in a [`Section`] of an index, and a page of it compares whole keys of that index. With
//! `owner = $1 … order by time`, the planner may take an index on `time` alone and filter by owner, if it
//! estimates that most rows are of this owner. A comparison of the rows `(owner, time)`, in that order,
//! leaves it one index.
//!
//! A column with few values, such as a status, is a leading column, too. A list of several of its values
//! takes a page of each section, `unnest(…) as each cross join lateral (…)`, and then the first rows of
//! all of them.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// The value of a leading column of an index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'q> {
    /// A column or constant of the statement.
    Sql(&'static str),
    Uuid(Uuid),
    Text(&'q str),
    Boolean(bool),
}

/// The rows with these values in the leading columns of an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section<'q>(Vec<(&'static str, Key<'q>)>);

/// Ends of a page in the order of time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page {
    /// Inclusive.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub(crate) to: Option<DateTime<Utc>>,
    /// Time and id of the last row of the page before.
    pub(crate) after: Option<(DateTime<Utc>, Uuid)>,
    /// Most rows.
    pub(crate) limit: i64,
}

impl<'q> Section<'q> {
    /// Adds the next leading column.
    pub(crate) fn by(mut self, column: &'static str, key: Key<'q>) -> Self {
        self.0.push((column, key));
        self
    }

    /// Adds the next leading column, if there is a value for it.
    pub(crate) fn by_some(self, column: &'static str, key: Option<Key<'q>>) -> Self {
        match key {
            Some(key) => self.by(column, key),
            None => self,
        }
    }

    /// Adds the condition that the leading columns, followed by `columns`, are `operator` those of the
    /// section, followed by what `values` adds. A page has one such condition at each of its two ends.
    pub(crate) fn compare(
        &self,
        query: &mut QueryBuilder<'q, Postgres>,
        columns: &'static str,
        operator: &'static str,
        values: impl FnOnce(&mut QueryBuilder<'q, Postgres>),
    ) {
        query.push(" and (");
        for (column, _) in &self.0 {
            query.push(column).push(", ");
        }
        query.push(columns).push(") ").push(operator).push(" (");
        for (_, key) in &self.0 {
            match *key {
                Key::Sql(sql) => query.push(sql),
                Key::Uuid(id) => query.push_bind(id),
                Key::Text(text) => query.push_bind(text),
                Key::Boolean(boolean) => query.push_bind(boolean),
            };
            query.push(", ");
        }
        values(query);
        query.push(")");
    }

    /// Orders the rows of a page descending by the leading columns and then `columns`, and limits them.
    pub(crate) fn descending(
        &self,
        query: &mut QueryBuilder<'q, Postgres>,
        columns: &'static str,
        limit: i64,
    ) {
        query.push(" order by ");
        for (column, _) in &self.0 {
            query.push(column).push(" desc, ");
        }
        query.push(columns).push(" limit ").push_bind(limit);
    }

    /// Orders the rows of a page ascending, like [`descending`](Self::descending).
    pub(crate) fn ascending(
        &self,
        query: &mut QueryBuilder<'q, Postgres>,
        columns: &'static str,
        limit: i64,
    ) {
        query.push(" order by ");
        for (column, _) in &self.0 {
            query.push(column).push(", ");
        }
        query.push(columns).push(" limit ").push_bind(limit);
    }

    /// Adds the conditions, the order and the limit of a page that is ordered by `time` and `id`, newest
    /// first.
    pub(crate) fn newest_first(
        &self,
        query: &mut QueryBuilder<'q, Postgres>,
        keys: Keys,
        page: &Page,
    ) {
        let Page { from, to, after, limit } = *page;
        self.compare(query, keys.time, ">=", |query| match from {
            Some(from) => {
                query.push_bind(from);
            }
            None => {
                query.push("'-infinity'");
            }
        });
        match (after, to) {
            (Some((time, id)), to) if to.is_none_or(|to| time < to) => {
                self.compare(query, keys.both, "<", |query| {
                    query.push_bind(time).push(", ").push_bind(id);
                });
            }
            (_, Some(to)) => self.compare(query, keys.time, "<", |query| {
                query.push_bind(to);
            }),
            (_, None) => self.compare(query, keys.time, "<=", |query| {
                query.push("'infinity'");
            }),
        }
        self.descending(query, keys.descending, limit);
    }
}

/// The columns that order a list: time, and id among equal times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    time: &'static str,
    both: &'static str,
    descending: &'static str,
}

/// The columns of most lists.
pub(crate) const CREATED: Keys =
    Keys { time: "created_at", both: "created_at, id", descending: "created_at desc, id desc" };

/// The columns of a list of the projects of a member.
pub(crate) const CREATED_PROJECT: Keys = Keys {
    time: "created_at",
    both: "created_at, project_id",
    descending: "created_at desc, project_id desc",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_compares_whole_keys_at_both_ends() {
        let section = Section::default().by("owner", Key::Uuid(Uuid::nil()));
        let mut query = QueryBuilder::new("");
        section.newest_first(&mut query, CREATED, &Page { limit: 5, ..Page::default() });
        let expected = " and (owner, created_at) >= ($1, '-infinity') \
                        and (owner, created_at) <= ($2, 'infinity') \
                        order by owner desc, created_at desc, id desc limit $3";
        assert_eq!(query.sql(), expected);
        let section = Section::default().by("status", Key::Sql("each.status"));
        let (time, mut query) = (DateTime::UNIX_EPOCH, QueryBuilder::new(""));
        let page = Page { from: Some(time), to: None, after: Some((time, Uuid::nil())), limit: 5 };
        section.newest_first(&mut query, CREATED, &page);
        let expected = " and (status, created_at) >= (each.status, $1) \
                        and (status, created_at, id) < (each.status, $2, $3) \
                        order by status desc, created_at desc, id desc limit $4";
        assert_eq!(query.sql(), expected);
    }
}
