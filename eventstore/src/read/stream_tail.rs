//! Where the stream ends. The relay resumes there and a feed joins there; nobody keeps books of
//! its own about it, because the stream may have been wiped since.

use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Config, Info, RawMessageError, RawMessageErrorKind};
use eventsourcing::Position;
use uuid::Uuid;

use crate::bus::message;
use crate::bus::{Bus, BusError, STREAM, SUBJECTS};
use crate::read::ALL;
use crate::{EventStore, Unavailable};

/// How many messages that are not ours are looked past, from the end.
const FOREIGN: i64 = 64;

type Stream = jetstream::stream::Stream<()>;

/// The end of the stream, and what it says about the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTail {
    /// The last sequence given away, whether or not its message is still there.
    pub(crate) sequence: u64,
    /// Position less sequence, at the end.
    offset: i64,
    /// The last message there is.
    last: Option<(Position, Uuid)>,
    /// Whether the stream may have forgotten its oldest messages.
    pub(crate) limited: bool,
}

impl StreamTail {
    /// Reads the end of the stream. None: there are messages, but the last ones are not ours.
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
            // Others may have published since `info`.
            sequence: state.last_sequence.max(found.sequence),
            offset,
            last: Some((found.position, found.id)),
            limited,
        }))
    }

    /// The position the stream holds everything up to, but for what it forgot or lost in between.
    pub(crate) fn position(&self) -> Position {
        Position(signed(self.sequence) + self.offset)
    }

    /// Where the event at `position` is, or will be.
    pub(crate) fn sequence_of(&self, position: Position) -> u64 {
        u64::try_from(position.0 - self.offset).unwrap_or(0).max(1)
    }

    /// Whether events are missing from the beginning of a stream that is now as `info` says, with
    /// no limit to explain it: the stream was purged.
    pub(crate) fn has_lost_start(&self, info: &Info) -> bool {
        // An empty stream's first sequence is the next one.
        let first = signed(info.state.first_sequence) + self.offset;
        first > 1 && !is_limited(&info.config)
    }

    /// Whether the stream carries the history that the log holds. It does not after the log was
    /// restored from a backup, or when it belongs to another log.
    pub(crate) async fn matches_log(&self, store: &EventStore) -> Result<bool, Unavailable> {
        let Some((position, id)) = self.last else {
            return Ok(true);
        };
        if self.position() > store.head().await? {
            return Ok(false);
        }
        let before = Position(position.0 - 1);
        let page = store.read(before, position, &ALL, 1).await?;
        Ok(page.events.first().is_some_and(|event| event.id == id))
    }
}

struct Found {
    sequence: u64,
    position: Position,
    id: Uuid,
    /// Messages of others behind it: they took sequences and carry no position.
    foreign: i64,
}

/// Looks backwards from `sequence` for a message that carries an event.
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

/// The position of the last event on `subject`, which may be a pattern.
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
