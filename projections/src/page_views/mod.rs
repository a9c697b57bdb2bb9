//! Page views: how many, and from how many sessions, by page and by minute, hour and day.

mod query;
mod rollup;

use std::time::Duration;

use domain::page_views::{Event, PAGE_VIEW};
use eventsourcing::Recorded;
use sqlx::PgConnection;

use crate::projection::Projection;
use rollup::Rollups;

pub use query::{Stats, StatsCursor, StatsFilter, stats};

/// The read model of page views.
#[derive(Debug)]
pub struct PageViews;

impl Projection for PageViews {
    const NAME: &'static str = "page_views";
    const CATEGORIES: &'static [&'static str] = &[PAGE_VIEW];
    const DDL: &'static str = include_str!("schema.sql");
    const ORDERED: bool = false;
    /// A batch writes one row for each of its pages and widths, however few views it has.
    const PACE: Duration = Duration::from_millis(100);
    type Event = Event;
    type Changes = Rollups;

    fn project(changes: &mut Rollups, event: Recorded<Event>) {
        match &event.event {
            Event::PageViewed(view) => changes.add(view),
        }
    }

    async fn write(changes: Rollups, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        changes.write(connection).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fold, golden};
    use eventsourcing::StreamId;

    #[test]
    fn views_of_one_minute_add_up() {
        let event: Event = golden("page_views", "page_viewed");
        let stream = StreamId::new(PAGE_VIEW, "1");
        let changes = fold::<PageViews>([(stream.clone(), event.clone()), (stream, event)]);
        assert_eq!(changes.views(), [2]);
    }
}
