//! The feed's JetStream consumer. The feed checks order and gaps by positions, so an ephemeral
//! consumer without acknowledgements is enough; after any failure a new one is created.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use eventsourcing::Position;
use futures::{FutureExt, StreamExt};

use crate::bus::connection::Bus;
use crate::bus::error::BusError;
use crate::bus::subjects::STREAM;
use crate::error::{ErrorChain, Unavailable};
use crate::read::log_reader::LogReader;
use crate::read::stream_tail::StreamTail;

/// Most messages and bytes in one pull request.
const PULL_MESSAGES: usize = 1024;
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// The server deletes a consumer without a pull request for this time.
const INACTIVE: Duration = Duration::from_secs(30);
/// Interval of the server's heartbeats; without them the consumer counts as broken.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A consumer at the tail of the stream.
pub(crate) struct JetStreamConsumer {
    messages: pull::Stream,
    /// The last position that the stream delivered.
    pub(crate) position: Position,
}

impl JetStreamConsumer {
    /// Joins the stream after `after`. None if the stream ends before `mark` or its history differs
    /// from the log's.
    pub(crate) async fn join(
        reader: LogReader,
        bus: Bus,
        mark: Position,
        after: Position,
    ) -> Result<Option<Self>, JoinError> {
        let Some(info) = bus.stream_info().await? else {
            return Ok(None);
        };
        let Some(tail) = StreamTail::read(&bus, &info).await? else {
            return Ok(None);
        };
        if tail.position() < mark || !tail.matches_log(&reader).await? {
            return Ok(None);
        }
        let from = after.min(tail.position());
        let config = pull::Config {
            description: Some("a feed of Tributary".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: tail.sequence_of(Position(from.0 + 1)),
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = bus.jetstream().create_consumer_on_stream(config, STREAM);
        let consumer = consumer.await.map_err(BusError::Consumer)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES.max(2 * bus.client().max_payload()))
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(BusError::Pull)?;
        Ok(Some(Self { messages, position: from }))
    }

    /// Waits for a message and returns it with all others that have arrived. None if the consumer
    /// is broken. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<async_nats::Message>> {
        let mut messages = Vec::new();
        let mut next = self.messages.next().await;
        loop {
            match next {
                Some(Ok(message)) => messages.push(message.message),
                Some(Err(error)) => {
                    tracing::debug!(error = %ErrorChain(&error), "feed lost its JetStream consumer");
                    return None;
                }
                None => return None,
            }
            if messages.len() >= PULL_MESSAGES {
                return Some(messages);
            }
            match self.messages.next().now_or_never() {
                Some(more) => next = more,
                None => return Some(messages),
            }
        }
    }
}

/// Why the feed could not join the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Log(#[from] Unavailable),
}
