//! Reading what one has written. A query that names a position waits until its projection has come
//! so far, or is told which projection is behind; it is never silently stale.
//!
//! One task a process polls the checkpoints, and only while somebody waits. A projection that runs
//! in this process wakes its waiters without the poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use eventsourcing::Position;
use eventstore::{EventStore, Unavailable};
use projections::Progress;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::IntoParams;

use super::problem::Problem;

/// How long a query waits for its projection when it does not say.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// How long anybody waits at most.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(20);
/// Between two looks at the checkpoints.
const POLL: Duration = Duration::from_millis(5);
/// Between two looks when the database could not be asked.
const POLL_AFTER_ERROR: Duration = Duration::from_millis(500);

/// Headers every query understands.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `Waiter::query`; this is for the document")]
pub(super) struct QueryHeaders {
    /// Answer only from a read model that has seen this position of the log; 503 if it has not in
    /// time.
    #[param(rename = "Tributary-Min-Position", value_type = i64, required = false, minimum = 0, example = 42)]
    min_position: Option<i64>,
    /// `wait=N`: wait for that position at most N seconds (5 if not said, 20 at most).
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
}

/// Waits for projections; clones share the poll.
#[derive(Debug, Clone)]
pub struct Waiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: EventStore,
    progress: Progress,
    polled: watch::Sender<HashMap<String, Position>>,
    waiting: AtomicUsize,
    wanted: Notify,
    /// Nobody waits past it: who asks is answered, rather than cut off.
    shutdown: CancellationToken,
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        shared.wanted.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Waiter {
    /// Starts the poll on `tasks`, until `shutdown`.
    pub fn start(
        store: EventStore,
        progress: Progress,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            store,
            progress,
            polled: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            shutdown: shutdown.clone(),
        });
        let polling = Arc::clone(&shared);
        tasks.spawn(async move { shutdown.run_until_cancelled(polling.poll()).await });
        Self(shared)
    }

    /// How far `projection` is, once it is as far as the headers of a query ask for.
    pub(super) async fn query(
        &self,
        projection: &'static str,
        headers: &HeaderMap,
    ) -> Result<Position, Problem> {
        if let Some(least) = min_position(headers)? {
            let patience = preferred(headers).unwrap_or(DEFAULT_WAIT);
            if !self.is_there(projection, least) {
                self.exists(least).await?;
            }
            if !self.until(projection, least, patience).await {
                return Err(self.behind(projection, least).await);
            }
        }
        Ok(self.position(projection).await?)
    }

    /// After a command: waits for `projection` as long as the caller prefers. Whether it came so
    /// far is not part of the answer: the command is done either way.
    pub async fn command(
        &self,
        projection: &'static str,
        position: Position,
        patience: Option<Duration>,
    ) {
        if let Some(patience) = patience
            && !self.until(projection, position, patience).await
        {
            tracing::debug!(projection, %position, "not shown yet");
        }
    }

    /// Whether `projection` is known to have seen `least`.
    fn is_there(&self, projection: &str, least: Position) -> bool {
        let Self(shared) = self;
        let here = shared.progress.of(projection).is_some_and(|here| *here.borrow() >= least);
        here || shared.polled.borrow().get(projection).is_some_and(|position| *position >= least)
    }

    /// A position that the log has not given out is nothing to wait for.
    async fn exists(&self, position: Position) -> Result<(), Problem> {
        let head = self.0.store.head().await?;
        if position <= head {
            return Ok(());
        }
        let detail = format!("the log ends at {head}; no command was answered with {position}");
        Err(Problem::parameter("Tributary-Min-Position", detail))
    }

    /// Waits until `projection` has seen `least`; false if it has not in time.
    async fn until(&self, projection: &str, least: Position, patience: Duration) -> bool {
        let Self(shared) = self;
        let Some(mut here) = shared.progress.of(projection) else {
            return false;
        };
        let mut polled = shared.polled.subscribe();
        let there = |positions: &HashMap<String, Position>| {
            positions.get(projection).is_some_and(|position| *position >= least)
        };
        if self.is_there(projection, least) {
            return true;
        }
        let _waiting = Waiting::new(shared);
        let arrived = async {
            tokio::select! {
                seen = here.wait_for(|position| *position >= least) => seen.is_ok(),
                seen = polled.wait_for(there) => seen.is_ok(),
                () = shared.shutdown.cancelled() => false,
            }
        };
        tokio::time::timeout(patience, arrived).await.unwrap_or(false)
    }

    async fn position(&self, projection: &str) -> Result<Position, Unavailable> {
        let checkpoints = self.0.store.checkpoints().await?;
        let own = checkpoints.iter().find(|checkpoint| checkpoint.consumer == projection);
        Ok(own.map_or(Position::START, |checkpoint| checkpoint.position))
    }

    async fn behind(&self, projection: &'static str, least: Position) -> Problem {
        let position = match self.position(projection).await {
            Ok(position) => position,
            Err(error) => return error.into(),
        };
        let detail = format!("projection {projection} is at {position}, not yet at {least}");
        Problem::unavailable("projection_behind", detail)
            .member("projection", projection)
            .member("position", position.0)
            .member("min_position", least.0)
    }
}

impl Shared {
    async fn poll(&self) {
        loop {
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.wanted.notified().await;
                continue;
            }
            let pause = match self.store.checkpoints().await {
                Ok(checkpoints) => {
                    let positions = checkpoints
                        .into_iter()
                        .map(|checkpoint| (checkpoint.consumer, checkpoint.position));
                    self.polled.send_replace(positions.collect());
                    POLL
                }
                Err(error) => {
                    tracing::debug!(%error, "checkpoints cannot be read");
                    POLL_AFTER_ERROR
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// `Tributary-Min-Position`.
fn min_position(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("tributary-min-position") else {
        return Ok(None);
    };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position
        .filter(|position| *position >= 0)
        .map(|position| Some(Position(position)))
        .ok_or_else(|| Problem::parameter("Tributary-Min-Position", "not a position of the log"))
}

/// `Prefer: wait=N` (RFC 7240), at most [`MAX_WAIT`]. Preferences that are not understood are
/// passed over, as the RFC has it.
pub(super) fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter();
    preferences.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).find_map(
        |preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            let seconds = value.trim().trim_matches('"').parse().ok()?;
            let asked = Duration::from_secs(seconds);
            name.trim().eq_ignore_ascii_case("wait").then(|| asked.min(MAX_WAIT))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn preferences_are_read_as_the_rfc_has_them() {
        for (text, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, wait=5", Some(5)),
            ("Wait = \"7\"; x=y", Some(7)),
            ("wait=1000", Some(20)),
            ("wait=x", None),
            ("return=minimal", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(preferred(&with("prefer", text)), expected, "{text}");
        }
    }

    #[test]
    fn a_position_is_a_number() {
        let read = |text| min_position(&with("tributary-min-position", text));
        assert_eq!(read("42").unwrap(), Some(Position(42)));
        assert!(read("x").is_err() && read("-1").is_err() && read("").is_err());
        assert_eq!(min_position(&HeaderMap::new()).unwrap(), None);
    }
}
