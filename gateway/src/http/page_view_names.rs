//! Paths and sessions of page views: visitors without a token choose them, and each new one is a row
//! of the read model, so their number per hour is bounded.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::page_views::PageView;

use super::problem::Problem;
use super::rate_limiter::count_refusal;

/// Seconds of a window.
const HOUR: i64 = 3_600;

/// The distinct paths and sessions of the current hour.
#[derive(Debug)]
pub(super) struct Names {
    max_paths: usize,
    max_sessions: usize,
    hasher: RandomState,
    seen: Mutex<Seen>,
}

/// Hashes of the names seen in an hour; two with one hash count as one.
#[derive(Debug, Default)]
struct Seen {
    hour: i64,
    paths: HashSet<u64>,
    sessions: HashSet<u64>,
}

impl Names {
    pub(super) fn new(max_paths: u32, max_sessions: u32) -> Self {
        let (max_paths, max_sessions) = (max_paths as usize, max_sessions as usize);
        Self { max_paths, max_sessions, hasher: RandomState::new(), seen: Mutex::default() }
    }

    /// Admits `views` received at `now`, if their new paths and sessions are within the limits of the
    /// hour; 429 until the next hour otherwise. Views of known paths and sessions are always admitted.
    pub(super) fn admit(&self, views: &[PageView], now: DateTime<Utc>) -> Result<(), Problem> {
        let hash = |text: &String| self.hasher.hash_one(text);
        let paths: HashSet<_> = views.iter().map(|view| hash(&view.path)).collect();
        let sessions: HashSet<_> =
            views.iter().filter_map(|view| view.session_id.as_ref().map(hash)).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.timestamp().div_euclid(HOUR);
        if seen.hour != hour {
            *seen = Seen { hour, ..Seen::default() };
        }
        for (reason, what, new, seen, most) in [
            ("page_view_paths", "paths", &paths, &seen.paths, self.max_paths),
            ("page_view_sessions", "sessions", &sessions, &seen.sessions, self.max_sessions),
        ] {
            let new = new.difference(seen).count();
            if new > 0 && seen.len() + new > most {
                count_refusal(reason);
                let detail = format!("more than {most} distinct {what} in this hour; retry later");
                return Err(Problem::too_many("too_many_names", detail, until_next_hour(now)));
            }
        }
        seen.paths.extend(paths);
        seen.sessions.extend(sessions);
        Ok(())
    }
}

fn until_next_hour(now: DateTime<Utc>) -> Duration {
    let seconds = HOUR - now.timestamp().rem_euclid(HOUR);
    Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(paths: &[&str], session: &str) -> Vec<PageView> {
        let view = |path: &&str| PageView {
            path: (*path).into(),
            referrer: None,
            user_agent: None,
            session_id: Some(session.into()),
            viewed_at: DateTime::UNIX_EPOCH,
        };
        paths.iter().map(view).collect()
    }

    #[test]
    fn new_names_are_bounded_per_hour_and_known_ones_are_not() {
        let names = Names::new(2, 2);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let admitted = |paths: &[&str], session, seconds| {
            names.admit(&views(paths, session), at(seconds)).is_ok()
        };
        assert!(!admitted(&["/a", "/b", "/c"], "s", 0), "three paths");
        assert!(admitted(&["/a", "/b", "/a"], "s", 0), "nothing was counted of the refused views");
        assert!(!admitted(&["/c"], "s", 3_599));
        assert!(admitted(&["/a"], "t", 3_599));
        assert!(!admitted(&["/a"], "u", 3_599), "three sessions");
        assert!(admitted(&["/b"], "s", 3_599));
        assert!(admitted(&["/c"], "u", 3_600), "the next hour");
    }
}
