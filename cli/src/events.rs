//! Events on the command line: the options that select them, and how they are shown.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId};
use eventstore::{Filter, RawEvent};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::outcome::Failure;
use super::text;
use gateway::http::event_view;

/// Options that select events. An event is selected if it matches each option that is given.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EventFilter {
    /// Select only events of these contexts, separated by commas
    #[arg(long, value_name = "CONTEXT", value_delimiter = ',')]
    context: Vec<String>,
    /// Select only events of these types, separated by commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    event_type: Vec<String>,
    /// Select only events of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

impl EventFilter {
    /// Returns the filter of reads from the log.
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let mut filter = Filter { event_types: self.event_type.clone(), ..Filter::default() };
        for name in &self.context {
            let unknown = || Failure::usage(vec![format!("--context: unknown context `{name}`")]);
            let context = domain::context_named(name).ok_or_else(unknown)?;
            filter.categories.extend(context.categories.iter().map(|&name| name.to_owned()));
        }
        if let Some(stream) = &self.stream {
            let invalid = |error| Failure::usage(vec![format!("--stream: {error}")]);
            filter.stream = Some(StreamId::parse(stream).map_err(invalid)?);
        }
        Ok(filter)
    }

    /// Returns the parameters of the API that select the same events.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let lists = [("context", &self.context), ("type", &self.event_type)];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let lists = lists.map(|(name, names)| (name, names.join(",")));
        lists.chain(self.stream.clone().map(|stream| ("stream", stream))).collect()
    }
}

/// An event, from the database or from the HTTP API.
pub(super) enum LogEvent {
    Stored(Arc<RawEvent>),
    Json(JsonEvent),
}

/// An event as the HTTP API shows it.
pub(super) struct JsonEvent {
    position: i64,
    recorded_at: DateTime<Utc>,
    json: Box<RawValue>,
}

impl<'de> Deserialize<'de> for JsonEvent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head {
            position: i64,
            recorded_at: DateTime<Utc>,
        }
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let head = serde_json::from_str(json.get()).map_err(serde::de::Error::custom)?;
        let Head { position, recorded_at } = head;
        Ok(Self { position, recorded_at, json })
    }
}

impl LogEvent {
    pub(super) fn position(&self) -> Position {
        match self {
            Self::Stored(event) => event.position,
            Self::Json(event) => Position(event.position),
        }
    }

    pub(super) fn recorded_at(&self) -> DateTime<Utc> {
        match self {
            Self::Stored(event) => event.recorded_at,
            Self::Json(event) => event.recorded_at,
        }
    }

    /// Returns the event as one line of JSON; none if it is not JSON, which the log does not accept.
    pub(super) fn json(&self) -> Option<String> {
        match self {
            Self::Stored(event) => event_view::line(event),
            Self::Json(event) => Some(event.json.get().to_owned()),
        }
    }

    /// Returns the event as one line for people, with the beginning of its data.
    pub(super) fn short(&self) -> Option<String> {
        /// Columns of the data that are shown.
        const SHOWN: usize = 80;
        let event: Value = serde_json::from_str(&self.json()?).ok()?;
        let time = self.recorded_at().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let data = event["data"].to_string();
        let data = text::printable(&data);
        let data = text::shortened(&data, SHOWN);
        let (kind, stream) = (event["type"].as_str()?, event["stream_id"].as_str()?);
        Some(format!("{:>9}  {time}  {kind:22}  {stream}  {data}", self.position().0))
    }
}
