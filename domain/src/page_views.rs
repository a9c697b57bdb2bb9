//! Page views: which page a visitor opened, and when. Page views are facts, like readings: they are
//! validated and recorded, and have no decider.
//!
//! Streams: `page_view-{UTC day}` holds the views received on a day.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::StreamId;

use crate::Span;

/// Category of the streams of page views. Published: other contexts may match it.
pub const PAGE_VIEW: &str = "page_view";

const TYPES: &[(&str, i16)] = &[("page_viewed", 1)];

/// The context of page views.
pub const CONTEXT: Context =
    Context { name: "page_views", categories: &[PAGE_VIEW], events: &[TYPES], deciders: &[] };

/// Events of visitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A visitor opened a page.
    PageViewed(PageView),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Returns the stream of the views received on the UTC day of `received_at`.
pub fn stream(received_at: DateTime<Utc>) -> StreamId {
    StreamId::new(PAGE_VIEW, received_at.date_naive())
}

/// One view of one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageView {
    /// Path of the page; begins with a slash, 1 to [`Self::MAX_PATH`] characters.
    pub path: String,
    /// Page the visitor came from, 1 to [`Self::MAX_PATH`] characters; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// `User-Agent` of the visitor, 1 to [`Self::MAX_USER_AGENT`] characters; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Id shared by all views of one visit, 1 to [`Self::MAX_SESSION_ID`] characters; a view without
    /// one is not counted in sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Time of the view by the visitor's clock; the time of receipt if the visitor sent none.
    pub viewed_at: DateTime<Utc>,
}

impl PageView {
    /// Maximum length of a path and of a referrer, in characters.
    pub const MAX_PATH: usize = 2048;
    /// Maximum length of a user agent, in characters.
    pub const MAX_USER_AGENT: usize = 1024;
    /// Maximum length of a session id, in characters.
    pub const MAX_SESSION_ID: usize = 128;
    /// Maximum number of views in one request.
    pub const MAX_ITEMS: usize = 1000;
    /// Maximum time a view may lie after its receipt, in hours.
    pub const MAX_HOURS_AHEAD: i64 = 24;
    /// Earliest accepted time of a view in epoch seconds (2000-01-01); an earlier one comes from a
    /// clock that was never set.
    pub const EARLIEST: i64 = 946_684_800;

    /// Validates the view, received at `received_at`, and returns every fault. A view that lies more
    /// than `max_age` before its receipt has one.
    pub fn faults(&self, received_at: DateTime<Utc>, max_age: Duration) -> Vec<InvalidView> {
        let texts = [
            ("path", Some(&self.path), Self::MAX_PATH),
            ("referrer", self.referrer.as_ref(), Self::MAX_PATH),
            ("user_agent", self.user_agent.as_ref(), Self::MAX_USER_AGENT),
            ("session_id", self.session_id.as_ref(), Self::MAX_SESSION_ID),
        ];
        let mut faults = Vec::new();
        for (member, text, most) in texts {
            let Some(text) = text else { continue };
            if text.contains('\0') {
                faults.push(InvalidView::Nul { member });
            } else if text.is_empty() || text.chars().count() > most {
                faults.push(InvalidView::Length { member, most });
            }
        }
        if !self.path.is_empty() && !self.path.starts_with('/') {
            faults.push(InvalidView::NoSlash);
        }
        let latest = received_at + TimeDelta::hours(Self::MAX_HOURS_AHEAD);
        let age = received_at.signed_duration_since(self.viewed_at).to_std().unwrap_or_default();
        if self.viewed_at > latest || self.viewed_at.timestamp() < Self::EARLIEST || age > max_age {
            faults.push(InvalidView::Time { max_age: Span(max_age) });
        }
        faults
    }
}

/// A fault of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidView {
    /// A text is empty or too long.
    #[error("must have 1 to {most} characters")]
    Length {
        /// Member of the view.
        member: &'static str,
        /// Maximum length in characters.
        most: usize,
    },
    /// A text contains a NUL character, which Postgres cannot store.
    #[error("must not contain \\u0000")]
    Nul {
        /// Member of the view.
        member: &'static str,
    },
    /// The path does not begin with a slash.
    #[error("must begin with a slash")]
    NoSlash,
    /// The time is too early or too late.
    #[error(
        "must be after the year 2000, at most {max_age} before the receipt and at most {} hours \
         after it",
        PageView::MAX_HOURS_AHEAD
    )]
    Time {
        /// Maximum time that a view may lie before its receipt.
        max_age: Span,
    },
}

impl InvalidView {
    /// Returns the name of the invalid member.
    pub fn member(&self) -> &'static str {
        match self {
            Self::Length { member, .. } | Self::Nul { member } => member,
            Self::NoSlash => "path",
            Self::Time { .. } => "viewed_at",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = Duration::from_hours(7 * 24);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn view(path: &str) -> PageView {
        PageView {
            path: path.into(),
            referrer: None,
            user_agent: None,
            session_id: None,
            viewed_at: at(0),
        }
    }

    fn members(view: &PageView) -> Vec<&'static str> {
        view.faults(at(0), WEEK).iter().map(InvalidView::member).collect()
    }

    #[test]
    fn a_view_has_a_path_that_begins_with_a_slash() {
        for path in ["/", "/a?b=c", &format!("/{}", "é".repeat(2047))] {
            assert_eq!(view(path).faults(at(0), WEEK), [], "{path}");
        }
        for path in ["", "a", "/\0", &format!("/{}", "é".repeat(2048))] {
            assert_eq!(members(&view(path)), ["path"], "{path}");
        }
    }

    #[test]
    fn all_faults_are_returned_at_once() {
        let wrong = PageView {
            referrer: Some(String::new()),
            user_agent: Some("x".repeat(1025)),
            session_id: Some("a\0".into()),
            viewed_at: at(24 * 3600 + 1),
            ..view("x")
        };
        let expected = ["referrer", "user_agent", "session_id", "path", "viewed_at"];
        assert_eq!(members(&wrong), expected);
    }

    #[test]
    fn a_clock_may_run_a_day_ahead_but_must_be_set() {
        let viewed = |seconds| PageView { viewed_at: at(seconds), ..view("/") };
        assert_eq!(members(&viewed(24 * 3600)), [""; 0]);
        assert_eq!(members(&viewed(24 * 3600 + 1)), ["viewed_at"]);
        assert_eq!(members(&viewed(-1_700_000_000)), ["viewed_at"]);
        assert_eq!(members(&viewed(-7 * 24 * 3600)), [""; 0]);
        assert_eq!(members(&viewed(-7 * 24 * 3600 - 1)), ["viewed_at"]);
    }

    #[test]
    fn each_day_has_its_own_stream() {
        assert_eq!(stream(at(0)).as_str(), "page_view-2023-11-14");
    }
}
