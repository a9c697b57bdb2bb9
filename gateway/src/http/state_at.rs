//! The state of a stream at a position or time: its events up to there, folded by its decider.

use axum::response::Response;
use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId, Version};
use serde::Serialize;
use serde_json::value::RawValue;

use super::api::Api;
use super::page;
use super::problem::Problem;

/// Events read at a time.
const PAGE_EVENTS: usize = 1_000;

/// The state of a stream at a position or time.
#[derive(Debug, Serialize)]
struct StreamState {
    stream_id: String,
    /// Number of events in the stream by then.
    version: i64,
    /// Position of the last of them.
    position: i64,
    recorded_at: DateTime<Utc>,
    /// State of the decider; `null` for streams of facts, which have no decider.
    state: Option<Box<RawValue>>,
}

/// A point in the history of the log.
enum Moment {
    Position(Position),
    Time(DateTime<Utc>),
}

impl Moment {
    fn parse(text: &str) -> Result<Self, Problem> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(Position(position)));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_neither| {
            Problem::parameter("at", "must be a position or a time (RFC 3339)")
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

/// Responds with the state of `stream` at the position or time `at`.
pub(super) async fn show(api: &Api, stream: &StreamId, at: &str) -> Result<Response, Problem> {
    let moment = Moment::parse(at)?;
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
    let state = StreamState {
        stream_id: stream.to_string(),
        version: version.0,
        position: position.0,
        recorded_at,
        state: state.map_err(|error| Problem::internal(&error))?,
    };
    Ok(page::one(state, Some(version.0), position))
}
