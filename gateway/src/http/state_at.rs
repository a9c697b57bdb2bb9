//! A stream as it was: its events up to some moment, folded as its decider folds them.

use axum::response::Response;
use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId, Version};
use serde::Serialize;
use serde_json::Value;

use super::problem::Problem;
use super::{Api, page};

/// Events folded at once.
const PAGE_EVENTS: usize = 1_000;

/// A stream as it was.
#[derive(Debug, Serialize)]
struct StreamState {
    stream_id: String,
    /// How many events it held.
    version: i64,
    /// Of the last of them.
    position: i64,
    recorded_at: DateTime<Utc>,
    /// What its decider knew. `null` for facts, which nobody decides.
    state: Option<Value>,
}

/// A moment: a place in the log, or a time.
enum Moment {
    Position(Position),
    Time(DateTime<Utc>),
}

impl Moment {
    fn read(text: &str) -> Result<Self, Problem> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_neither| {
            Problem::parameter("at", "neither a position nor a time (RFC 3339)")
        })?;
        Ok(Self::Time(time.into()))
    }

    fn is_before(&self, position: Position, recorded_at: DateTime<Utc>) -> bool {
        match self {
            Self::Position(moment) => *moment < position,
            Self::Time(moment) => *moment < recorded_at,
        }
    }
}

/// The stream as it was `at` that moment.
pub(super) async fn show(api: &Api, stream: &StreamId, at: &str) -> Result<Response, Problem> {
    let moment = Moment::read(at)?;
    let mut state = domain::decider_of(stream.category()).map(|decider| (decider.initial_state)());
    let mut last = None;
    let mut version = Version::NONE;
    'pages: loop {
        let events = api.store.read_stream(stream, version, PAGE_EVENTS).await?;
        if events.is_empty() {
            break;
        }
        for event in events {
            if moment.is_before(event.position, event.recorded_at) {
                break 'pages;
            }
            version = event.version;
            if let Some(state) = &mut state {
                state
                    .fold(&event.event_type, event.schema_version, &event.data)
                    .map_err(|error| Problem::internal(&error))?;
            }
            last = Some((event.position, event.recorded_at));
        }
    }
    let (position, recorded_at) = last.ok_or_else(|| Problem::not_found("stream"))?;
    let state = state.map(|state| state.to_json()).transpose();
    let then = StreamState {
        stream_id: stream.to_string(),
        version: version.0,
        position: position.0,
        recorded_at,
        state: state.map_err(|error| Problem::internal(&error))?,
    };
    Ok(page::one(then, Some(version.0), position))
}
