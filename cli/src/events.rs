//! EventFilter events, and writing them: what `tail` and `replay` have in common.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId};
use eventstore::{EventStore, Filter, RawEvent, Unavailable};

use super::outcome::Failure;
use gateway::http::event_view;

/// EventFilter events.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EventFilter {
    /// Only those of this context; several are separated by commas
    #[arg(long, value_name = "CONTEXT", value_delimiter = ',')]
    context: Vec<String>,
    /// Only those of this type; several are separated by commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    event_type: Vec<String>,
    /// Only those of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

impl EventFilter {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let mut filter = Filter { event_types: self.event_type.clone(), ..Filter::default() };
        for name in &self.context {
            let unknown = || Failure::usage(vec![format!("--context: there is no `{name}`")]);
            let context = domain::context_named(name).ok_or_else(unknown)?;
            filter.categories.extend(context.categories.iter().map(|&name| name.to_owned()));
        }
        if let Some(stream) = &self.stream {
            let unfit = |error| Failure::usage(vec![format!("--stream: {error}")]);
            filter.stream = Some(StreamId::parse(stream).map_err(unfit)?);
        }
        Ok(filter)
    }
}

/// The log is not reachable, or does not answer as it should.
pub(super) fn unavailable(Unavailable(error): Unavailable) -> Failure {
    error.into()
}

/// Writes an event as a line of JSON; an error means that nobody reads any more.
pub(super) fn write(out: &mut impl Write, event: &RawEvent) -> io::Result<()> {
    match event_view::line(event) {
        Some(line) => writeln!(out, "{line}"),
        None => Ok(()),
    }
}

/// The same for people: one line, not longer than it must be.
pub(super) fn write_short(out: &mut impl Write, event: &RawEvent) -> io::Result<()> {
    /// Of the data, in characters.
    const SHOWN: usize = 80;
    let Some(event) = event_view::shown(event.clone()) else {
        return Ok(());
    };
    let data: String = event.data.chars().take(SHOWN).filter(|c| !c.is_control()).collect();
    let time = event.recorded_at.format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let (position, stream) = (event.position, event.stream.as_str());
    writeln!(out, "{position:>9}  {time}  {:22}  {stream}  {data}", event.event_type)
}

/// The last position recorded before `time`. Times never decrease with positions, so it is found by
/// halving; there is no index of them.
pub(super) async fn before(
    store: &EventStore,
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
