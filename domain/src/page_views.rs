//! Page views: who looked at which page, and when. They are facts, like readings: nobody decides
//! whether they happened, so there is no decider, only validation at the door.
//!
//! Streams: `page_view-{UTC day}` holds what arrived on a day.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::StreamId;

/// Category of the streams of page views.
pub const PAGE_VIEW: &str = "page_view";

const TYPES: &[(&str, i16)] = &[("page_viewed", 1)];

pub const CONTEXT: Context =
    Context { name: "page_views", categories: &[PAGE_VIEW], events: &[TYPES], deciders: &[] };

/// What visitors did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    PageViewed(PageView),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// The stream of what arrived on the day of `received_at`.
pub fn stream(received_at: DateTime<Utc>) -> StreamId {
    StreamId::new(PAGE_VIEW, received_at.date_naive())
}

/// One look at one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageView {
    /// Begins with a slash.
    pub path: String,
    /// Where the visitor came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
    /// What the visitor's program calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The same for all views of one visit; without one a view counts towards no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// By the visitor's clock; when it arrived, if the visitor did not say.
    pub viewed_at: DateTime<Utc>,
}

impl PageView {
    /// Longest path and longest referrer, in characters.
    pub const MAX_PATH: usize = 2048;
    /// Longest name of a program, in characters.
    pub const MAX_USER_AGENT: usize = 1024;
    /// Longest session id, in characters.
    pub const MAX_SESSION_ID: usize = 128;
    /// Most views in one request.
    pub const MAX_ITEMS: usize = 1000;
    /// How far a visitor's clock may run ahead of ours, in hours.
    pub const MAX_HOURS_AHEAD: i64 = 24;
    /// Views before this second of the epoch (2000-01-01) come from a clock that was never set.
    pub const EARLIEST: i64 = 946_684_800;

    /// Everything that is wrong with it, given when it arrived.
    pub fn faults(&self, received_at: DateTime<Utc>) -> Vec<InvalidView> {
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
        if self.viewed_at > latest || self.viewed_at.timestamp() < Self::EARLIEST {
            faults.push(InvalidView::Time);
        }
        faults
    }
}

/// What is wrong with a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidView {
    #[error("1 to {most} characters")]
    Length { member: &'static str, most: usize },
    #[error("text with \\u0000 cannot be kept")]
    Nul { member: &'static str },
    #[error("a path begins with a slash")]
    NoSlash,
    #[error("more than {} hours ahead, or before the year 2000", PageView::MAX_HOURS_AHEAD)]
    Time,
}

impl InvalidView {
    /// Which member of the view is at fault.
    pub fn member(&self) -> &'static str {
        match self {
            Self::Length { member, .. } | Self::Nul { member } => member,
            Self::NoSlash => "path",
            Self::Time => "viewed_at",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        view.faults(at(0)).iter().map(InvalidView::member).collect()
    }

    #[test]
    fn a_view_names_a_path() {
        for path in ["/", "/a?b=c", &format!("/{}", "é".repeat(2047))] {
            assert_eq!(view(path).faults(at(0)), [], "{path}");
        }
        for path in ["", "a", "/\0", &format!("/{}", "é".repeat(2048))] {
            assert_eq!(members(&view(path)), ["path"], "{path}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
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
    fn clocks_may_run_a_day_ahead_but_not_be_unset() {
        let viewed = |seconds| PageView { viewed_at: at(seconds), ..view("/") };
        assert_eq!(members(&viewed(24 * 3600)), [""; 0]);
        assert_eq!(members(&viewed(24 * 3600 + 1)), ["viewed_at"]);
        assert_eq!(members(&viewed(-1_700_000_000)), ["viewed_at"]);
    }

    #[test]
    fn a_day_has_a_stream() {
        assert_eq!(stream(at(0)).as_str(), "page_view-2023-11-14");
    }
}
