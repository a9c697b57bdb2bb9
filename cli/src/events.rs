//! Event filters and the output of events, for `tail` and `replay`.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId};
use eventstore::{Filter, LogReader, RawEvent, Unavailable};

use super::outcome::Failure;
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
}

/// Converts the error of a read from the log.
pub(super) fn unavailable(error: Unavailable) -> Failure {
    error.into()
}

/// Writes an event as one line of JSON. Fails if the reader of `out` is gone.
pub(super) fn write(out: &mut impl Write, event: &RawEvent) -> io::Result<()> {
    match event_view::line(event) {
        Some(line) => writeln!(out, "{line}"),
        None => Ok(()),
    }
}

/// Writes an event as one line for people, with the beginning of its data.
pub(super) fn write_short(out: &mut impl Write, event: &RawEvent) -> io::Result<()> {
    /// Longest data shown, in characters.
    const SHOWN: usize = 80;
    let Some(event) = event_view::shown(event.clone()) else {
        return Ok(());
    };
    let data: String = event.data.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
    let time = event.recorded_at.format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let (position, stream) = (event.position, event.stream.as_str());
    writeln!(out, "{position:>9}  {time}  {:22}  {stream}  {data}", event.event_type)
}

/// Returns the last position recorded before `time`, by binary search: times never decrease with
/// positions, and no index has them.
pub(super) async fn before(
    store: &LogReader,
    time: DateTime<Utc>,
    head: Position,
) -> Result<Position, Failure> {
    let (mut earlier, mut later) = (0, head.0 + 1);
    while later - earlier > 1 {
        let middle = earlier + (later - earlier) / 2;
        let found = store.at_positions(&[Position(middle)]).await.map_err(unavailable)?;
        match found.first() {
            Some(event) if event.recorded_at >= time => later = middle,
            _ => earlier = middle,
        }
    }
    Ok(Position(earlier))
}
