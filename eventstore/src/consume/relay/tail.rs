//! The tail of the stream `EVENTS`: the last event of the log that it holds. It is read from the
//! stream each time, because the stream may have been wiped since. A message counts as an event of
//! the log only if the log has that event at that position: any program with access may publish to
//! the stream, and its messages are skipped.

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessageError, RawMessageErrorKind};
use eventsourcing::Position;
use futures::StreamExt;
use uuid::Uuid;

use super::interrupted::Interrupted;
use super::window::Published;
use crate::bus::subjects::STREAM;
use crate::bus::{Bus, BusError, is_limited, message};
use crate::read::log_reader::LogReader;
use crate::{RawEvent, Unavailable};

/// Messages read at once when the last one is foreign: more each time, at most so many.
const CHUNKS: (u64, u64) = (64, 16_384);
/// The server deletes the consumer of a chunk after so long.
const INACTIVE: std::time::Duration = std::time::Duration::from_secs(5);

/// The tail of the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// The last sequence assigned, whether or not its message still exists.
    pub(super) sequence: u64,
    /// Position of the last event that the stream holds; 0 if it holds none.
    pub(super) position: Position,
    /// Number of foreign messages behind that event.
    pub(super) foreign: u64,
}

impl Tail {
    /// Reads the tail. Counts foreign messages after the sequence `counted` only. If the stream still
    /// holds the event `known`, messages behind it that carry earlier events are copies, and foreign.
    pub(super) async fn read(
        reader: &LogReader,
        bus: &Bus,
        info: &Info,
        counted: u64,
        known: Option<Published>,
    ) -> Result<Self, Interrupted> {
        let (first, last) = (info.state.first_sequence.max(1), info.state.last_sequence);
        let mut tail = Self { sequence: last, position: Position::START, foreign: 0 };
        if info.state.messages == 0 {
            return Ok(tail);
        }
        let mut least = first;
        if let Some(known) = known
            && event_at(reader, bus, known.sequence).await? == Some(known.position)
        {
            (tail.position, least) = (known.position, known.sequence + 1);
        }
        let floor = tail.position;
        // The usual case: one message.
        if let Some(position) = event_at(reader, bus, last).await?
            && position > floor
        {
            tail.position = position;
            return Ok(tail);
        }
        let (mut until, mut count) = (last, CHUNKS.0);
        while until >= least {
            let from = until.saturating_sub(count - 1).max(least);
            let chunk = Chunk::read(bus, from, until).await?;
            let found = latest(reader, &chunk.claims).await?;
            let found = found.filter(|found| found.position > floor);
            let own = found.as_ref().map_or(0, |found| found.sequence);
            let foreign = chunk.sequences.iter().filter(|seen| **seen > own.max(counted)).count();
            tail.foreign += u64::try_from(foreign).unwrap_or(u64::MAX);
            if let Some(found) = found {
                tail.position = found.position;
                break;
            }
            until = from - 1;
            count = (count * 4).min(CHUNKS.1);
        }
        Ok(tail)
    }
}

/// Returns the position of the event that the message at `sequence` carries; none if there is no such
/// message, or if it is foreign.
async fn event_at(
    reader: &LogReader,
    bus: &Bus,
    sequence: u64,
) -> Result<Option<Position>, Interrupted> {
    let Some(message) = raw_message(bus, sequence).await? else { return Ok(None) };
    let Some(claim) = Claimed::by(&message.headers, sequence) else { return Ok(None) };
    Ok(latest(reader, &[claim]).await?.map(|found| found.position))
}

/// Returns whether the stream does not hold the first event, though no limit removed it: it was
/// purged.
pub(super) async fn has_lost_start(
    reader: &LogReader,
    bus: &Bus,
    info: &Info,
) -> Result<bool, Interrupted> {
    if is_limited(&info.config) || info.state.messages == 0 {
        return Ok(false);
    }
    let from = info.state.first_sequence.max(1);
    if let Some(message) = raw_message(bus, from).await?
        && message::position(&message.headers) == Some(Position(1))
    {
        return Ok(false); // The usual case.
    }
    let chunk = Chunk::read(bus, from, from + CHUNKS.0 - 1).await?;
    let Some(first) = chunk.claims.first() else {
        return Ok(false); // Foreign messages only.
    };
    let found = latest(reader, std::slice::from_ref(first)).await?;
    Ok(found.is_some_and(|found| found.position > Position(1)))
}

/// Returns the event of the last message on `subject`, which may contain wildcards; none if there is
/// no such message, or if it is foreign.
pub(super) async fn last_event(
    reader: &LogReader,
    bus: &Bus,
    subject: &str,
) -> Result<Option<RawEvent>, Interrupted> {
    let stream = bus.jetstream().get_stream_no_info(STREAM).await;
    let stream = stream.map_err(BusError::Info)?;
    let message = match stream.get_last_raw_message_by_subject(subject).await {
        Err(error) if is_missing(&error) => return Ok(None),
        message => message.map_err(BusError::Message)?,
    };
    let Some(claim) = Claimed::by(&message.headers, message.sequence) else {
        return Ok(None);
    };
    let event = reader.at_positions(&[claim.position]).await?.pop();
    Ok(event.filter(|event| event.id == claim.id))
}

async fn raw_message(bus: &Bus, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
    let stream = bus.jetstream().get_stream_no_info(STREAM).await;
    let stream = stream.map_err(BusError::Info)?;
    match stream.get_raw_message(sequence).await {
        Err(error) if is_missing(&error) => Ok(None),
        message => message.map(Some).map_err(BusError::Message),
    }
}

fn is_missing(error: &RawMessageError) -> bool {
    error.kind() == RawMessageErrorKind::NoMessageFound
}

/// The event that a message claims to carry.
struct Claimed {
    sequence: u64,
    position: Position,
    id: Uuid,
}

impl Claimed {
    fn by(headers: &HeaderMap, sequence: u64) -> Option<Self> {
        Some(Self {
            sequence,
            position: message::position(headers)?,
            id: message::event_id(headers)?,
        })
    }
}

/// A part of the stream, without bodies.
struct Chunk {
    sequences: Vec<u64>,
    claims: Vec<Claimed>,
}

impl Chunk {
    /// Reads the messages with the sequences `from` to `until` that exist.
    async fn read(bus: &Bus, from: u64, until: u64) -> Result<Self, BusError> {
        let config = pull::Config {
            // Permissions name the stream of consumers with a name only.
            name: Some(Uuid::now_v7().to_string()),
            description: Some("the relay of Tributary, which resumes".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = bus.jetstream().create_consumer_on_stream(config, STREAM);
        let consumer = consumer.await.map_err(BusError::Consumer)?;
        let most = usize::try_from(until - from + 1).unwrap_or(usize::MAX);
        let messages = consumer.fetch().max_messages(most).messages().await;
        let mut messages = messages.map_err(BusError::Batch)?;
        let mut chunk = Self { sequences: Vec::new(), claims: Vec::new() };
        while let Some(message) = messages.next().await {
            let message = message.map_err(BusError::Receive)?;
            let sequence = message.info().map_err(BusError::Receive)?.stream_sequence;
            if sequence > until {
                break;
            }
            chunk.sequences.push(sequence);
            let claim = message.headers.as_ref().and_then(|found| Claimed::by(found, sequence));
            chunk.claims.extend(claim);
        }
        Ok(chunk)
    }
}

/// Returns the latest event of the log among those that messages claim to carry, with the first
/// message that carries it.
async fn latest(reader: &LogReader, claims: &[Claimed]) -> Result<Option<Claimed>, Unavailable> {
    let sequences: Vec<_> =
        claims.iter().map(|claim| i64::try_from(claim.sequence).unwrap_or(i64::MAX)).collect();
    let positions: Vec<_> = claims.iter().map(|claim| claim.position.0).collect();
    let ids: Vec<_> = claims.iter().map(|claim| claim.id).collect();
    let found: Option<(i64, i64, Uuid)> = sqlx::query_as(
        "select c.sequence, e.position, e.event_id
         from unnest($1::bigint[], $2::bigint[], $3::uuid[]) as c (sequence, position, id)
         join log.event e on e.position = c.position and e.event_id = c.id
         order by e.position desc, c.sequence limit 1",
    )
    .bind(sequences)
    .bind(positions)
    .bind(ids)
    .fetch_optional(reader.pool())
    .await?;
    Ok(found.map(|(sequence, position, id)| Claimed {
        sequence: u64::try_from(sequence).unwrap_or_default(),
        position: Position(position),
        id,
    }))
}
