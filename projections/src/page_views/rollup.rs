//! The page views of a batch, counted by minute, and their addition to the stored buckets.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::page_views::PageView;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::Columns;
use crate::spans::WIDTHS;

/// Returns the key of a path or a session: 128 bits of the SHA-256 of its text.
pub(super) fn key_of(text: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(text)[..16]);
    Uuid::from_bytes(bytes)
}

/// Key of a page, and a minute counted from the epoch.
type Minute = (Uuid, i64);

/// The views of a batch by minute. Wider buckets are added up when written.
#[derive(Debug, Default)]
pub struct Rollups {
    pages: HashMap<String, Uuid>,
    /// Ordered by key, so that concurrent batches lock rows in the same order.
    views: BTreeMap<Minute, i64>,
    visits: BTreeSet<(Minute, Uuid)>,
}

impl Rollups {
    pub(super) fn add(&mut self, view: &PageView) {
        let page = if let Some(&page) = self.pages.get(&view.path) {
            page
        } else {
            let page = key_of(&view.path);
            self.pages.insert(view.path.clone(), page);
            page
        };
        let minute = (page, view.viewed_at.timestamp().div_euclid(WIDTHS[0].into()));
        *self.views.entry(minute).or_default() += 1;
        if let Some(session) = &view.session_id {
            self.visits.insert((minute, key_of(session)));
        }
    }

    /// Returns the views of every stored width, by page, width and number of the bucket.
    fn rows(&self) -> BTreeMap<(Uuid, i32, i64), i64> {
        let mut rows = BTreeMap::new();
        for ((page, minute), views) in &self.views {
            for width in WIDTHS {
                let bucket = minute.div_euclid(i64::from(width / WIDTHS[0]));
                *rows.entry((*page, width, bucket)).or_default() += views;
            }
        }
        rows
    }

    #[cfg(test)]
    pub(super) fn views(&self) -> Vec<i64> {
        self.views.values().copied().collect()
    }

    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.views.is_empty() {
            return Ok(());
        }
        let pages: Vec<_> = self.pages.iter().collect();
        Columns::of(&pages)
            .column("id", |(_, id)| **id)
            .column("path", |(path, _)| path.as_str())
            .insert("page", "on conflict (id) do nothing", connection)
            .await?;
        let rows = self.rows();
        let seconds = |minute: i64| minute * i64::from(WIDTHS[0]);
        // A session that is new in an hour is new in one of its minutes, so most visits stop at the
        // first of the three inserts.
        sqlx::query(
            "with minute as (
               insert into visit (page, width, bucket, session)
               select page, 60, to_timestamp(bucket), session
               from unnest($1::uuid[], $2::bigint[], $3::uuid[]) as n (page, bucket, session)
               on conflict do nothing returning *
             ), hour as (
               insert into visit (page, width, bucket, session)
               select distinct page, 3600, date_bin('1 hour', bucket, 'epoch'), session from minute
               on conflict do nothing returning *
             ), day as (
               insert into visit (page, width, bucket, session)
               select distinct page, 86400, date_bin('1 day', bucket, 'epoch'), session from hour
               on conflict do nothing returning *
             ), fresh as (
               select page, width, bucket, count(*) as sessions
               from (select * from minute union all select * from hour union all select * from day)
                 as visits
               group by page, width, bucket
             )
             insert into rollup as r (page, width, bucket, views, sessions)
             select page, width, bucket, views, coalesce(sessions, 0)
             from (select page, width, to_timestamp(second) as bucket, views
                   from unnest($4::uuid[], $5::integer[], $6::bigint[], $7::bigint[])
                     as n (page, width, second, views)) as new
             left join fresh using (page, width, bucket)
             on conflict (page, width, bucket) do update set
               views = r.views + excluded.views, sessions = r.sessions + excluded.sessions",
        )
        .bind(self.visits.iter().map(|((page, _), _)| *page).collect::<Vec<_>>())
        .bind(self.visits.iter().map(|((_, minute), _)| seconds(*minute)).collect::<Vec<_>>())
        .bind(self.visits.iter().map(|(_, session)| *session).collect::<Vec<_>>())
        .bind(rows.keys().map(|(page, ..)| *page).collect::<Vec<_>>())
        .bind(rows.keys().map(|(_, width, _)| *width).collect::<Vec<_>>())
        .bind(rows.keys().map(|(_, width, bucket)| bucket * i64::from(*width)).collect::<Vec<_>>())
        .bind(rows.values().copied().collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn view(path: &str, session: Option<&str>, second: i64) -> PageView {
        PageView {
            path: path.into(),
            referrer: None,
            user_agent: None,
            session_id: session.map(str::to_owned),
            viewed_at: DateTime::from_timestamp(second, 0).unwrap(),
        }
    }

    #[test]
    fn views_add_up_by_the_minute_and_sessions_count_once() {
        let mut rollups = Rollups::default();
        for (session, second) in [(Some("a"), 0), (Some("a"), 59), (None, 60), (Some("b"), 3600)] {
            rollups.add(&view("/", session, second));
        }
        let page = key_of("/");
        let expected = [((page, 0), 2), ((page, 1), 1), ((page, 60), 1)];
        assert_eq!(rollups.views, BTreeMap::from(expected));
        assert_eq!(rollups.visits.len(), 2);
        let rows = rollups.rows();
        assert_eq!(rows[&(page, 3_600, 0)], 3);
        assert_eq!(rows[&(page, 3_600, 1)], 1);
        assert_eq!(rows[&(page, 86_400, 0)], 4);
        assert_eq!(rows.len(), 3 + 2 + 1);
    }

    #[test]
    fn keys_of_stored_pages_and_sessions_never_change() {
        assert_eq!(key_of("/products/7").to_string(), "0a0f79fe-2fed-7171-5ee3-7bf10d6c3c46");
    }

    #[test]
    fn time_before_the_epoch_falls_into_the_bucket_before_it() {
        let mut rollups = Rollups::default();
        rollups.add(&view("/", None, -1));
        assert_eq!(rollups.rows()[&(key_of("/"), 86_400, -1)], 1);
    }
}
