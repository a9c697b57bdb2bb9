//! Page views as they are asked for: how many, and of how many sessions, by page and by minute,
//! hour and day.

mod query;
mod rollup;

use std::time::Duration;

use domain::page_views::{Event, PAGE_VIEW};
use eventsourcing::Recorded;
use sqlx::PgConnection;

use crate::projection::Projection;
use rollup::Rollups;

pub use query::{Stats, StatsCursor, StatsFilter, stats};

/// Widths of the buckets that are kept, in seconds.
const WIDTHS: [i32; 3] = [60, 3_600, 86_400];

/// The read model of page views.
#[derive(Debug)]
pub struct PageViews;

impl Projection for PageViews {
    const NAME: &'static str = "page_views";
    const CATEGORIES: &'static [&'static str] = &[PAGE_VIEW];
    const DDL: &'static str = include_str!("schema.sql");
    /// A batch costs a row for each page in it, however few views there are.
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
