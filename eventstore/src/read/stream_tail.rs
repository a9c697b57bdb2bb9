//! The tail of the stream `EVENTS`: its last message and what follows from it. The relay resumes
//! and the feed joins there. It is read from the stream each time, because the stream may have been
//! wiped since.

use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, Info, RawMessageError, RawMessageErrorKind};
use eventsourcing::Position;
use uuid::Uuid;

use crate::bus::connection::Bus;
use crate::bus::error::BusError;
use crate::bus::message;
use crate::bus::subjects::{STREAM, SUBJECTS};
use crate::error::Unavailable;
use crate::read::filter::ALL;
use crate::read::log_reader::LogReader;

/// Most messages of other publishers that are skipped, from the end.
const FOREIGN: i64 = 64;

type Stream = jetstream::stream::Stream<()>;

/// The tail of the stream, and how its sequences relate to positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTail {
    /// The last sequence assigned, whether or not its message still exists.
    pub(crate) sequence: u64,
    /// Position minus sequence of the last message.
    offset: i64,
    /// Position and event id of the last message with an event.
    last: Option<(Position, Uuid)>,
    /// Whether a limit of the stream may have removed its oldest messages.
    pub(crate) limited: bool,
}

impl StreamTail {
    /// Reads the tail of the stream. None if its last messages carry no events.
    pub(crate) async fn read(bus: &Bus, info: &Info) -> Result<Option<Self>, BusError> {
        let state = &info.state;
        let limited = is_limited(&info.config);
        let empty = Self {
            sequence: state.last_sequence,
            offset: -signed(state.last_sequence),
            last: None,
            limited,
        };
        if state.messages == 0 {
            return Ok(Some(empty));
        }
        let stream = bus.jetstream().get_stream_no_info(STREAM).await;
        let stream = stream.map_err(BusError::Info)?;
        let Some(found) = last_event_message(&stream, state.last_sequence).await? else {
            return Ok(None);
        };
        let offset = found.position.0 - signed(found.sequence) - found.foreign;
        Ok(Some(Self {
            // A message may have been published since `info`.
            sequence: state.last_sequence.max(found.sequence),
            offset,
            last: Some((found.position, found.id)),
            limited,
        }))
    }

    /// Returns the position up to which the stream was published, including removed messages.
    pub(crate) fn position(&self) -> Position {
        Position(signed(self.sequence) + self.offset)
    }

    /// Returns the sequence that the event at `position` has or will have.
    pub(crate) fn sequence_of(&self, position: Position) -> u64 {
        u64::try_from(position.0 - self.offset).unwrap_or(0).max(1)
    }

    /// Returns whether the first events are missing, though no limit removed them: the stream was
    /// purged. `info` is the stream's current state.
    pub(crate) fn has_lost_start(&self, info: &Info) -> bool {
        // An empty stream's first sequence is the next one.
        let first = signed(info.state.first_sequence) + self.offset;
        first > 1 && !is_limited(&info.config)
    }

    /// Returns whether the stream holds the history of the log. It does not after a restore of the
    /// log from a backup, or if it belongs to another log.
    pub(crate) async fn matches_log(&self, reader: &LogReader) -> Result<bool, Unavailable> {
        let Some((position, id)) = self.last else {
            return Ok(true);
        };
        if self.position() > reader.head().await? {
            return Ok(false);
        }
        let before = Position(position.0 - 1);
        let page = reader.read(before, position, &ALL, 1).await?;
        Ok(page.events.first().is_some_and(|event| event.id == id))
    }
}

struct Found {
    sequence: u64,
    position: Position,
    id: Uuid,
    /// Number of messages without an event after it: they have sequences and no positions.
    foreign: i64,
}

/// Searches backwards from `sequence` for a message with an event.
async fn last_event_message(stream: &Stream, sequence: u64) -> Result<Option<Found>, BusError> {
    let mut at = sequence;
    let mut foreign = 0;
    while at > 0 && foreign < FOREIGN {
        let message = match stream.get_raw_message(at).await {
            Err(error) if is_missing(&error) => last_of_subject(stream, SUBJECTS).await?,
            message => Some(message.map_err(BusError::Message)?),
        };
        let Some(message) = message else {
            return Ok(None);
        };
        let headers = &message.headers;
        if let (Some(position), Some(id)) = (message::position(headers), message::event_id(headers))
        {
            return Ok(Some(Found { sequence: message.sequence, position, id, foreign }));
        }
        foreign += 1;
        at = message.sequence.saturating_sub(1);
    }
    Ok(None)
}

/// Returns the position of the last event on `subject`, which may contain wildcards.
pub(crate) async fn last_position(bus: &Bus, subject: &str) -> Result<Option<Position>, BusError> {
    let stream = bus.jetstream().get_stream_no_info(STREAM).await;
    let stream = stream.map_err(BusError::Info)?;
    let message = last_of_subject(&stream, subject).await?;
    Ok(message.and_then(|message| message::position(&message.headers)))
}

async fn last_of_subject(
    stream: &Stream,
    subject: &str,
) -> Result<Option<StreamMessage>, BusError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Err(error) if is_missing(&error) => Ok(None),
        message => message.map(Some).map_err(BusError::Message),
    }
}

fn is_missing(error: &RawMessageError) -> bool {
    error.kind() == RawMessageErrorKind::NoMessageFound
}

fn is_limited(config: &Config) -> bool {
    config.max_bytes > 0
        || config.max_messages > 0
        || config.max_messages_per_subject > 0
        || !config.max_age.is_zero()
}

fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
