//! The feed's consumer on the stream. Order and gaps are judged by positions, so the plainest kind
//! of consumer will do; whatever goes wrong, it is thrown away and another one made.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use eventsourcing::Position;
use futures::{FutureExt, StreamExt};

use crate::bus::{Bus, BusError, STREAM};
use crate::read::stream_tail::StreamTail;
use crate::{EventStore, Unavailable};

/// Messages and bytes that may be on their way to us.
const PULL_MESSAGES: usize = 1024;
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// The server drops the consumer when we have not asked for so long.
const INACTIVE: Duration = Duration::from_secs(30);
/// A consumer that sends neither messages nor this is broken.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A consumer at the end of the stream.
pub(crate) struct JetStreamConsumer {
    messages: pull::Stream,
    /// The last position the stream has delivered.
    pub(crate) position: Position,
}

impl JetStreamConsumer {
    /// Joins the stream behind `after`; not if the stream ends before `mark` or tells another
    /// history than the log.
    pub(crate) async fn join(
        store: EventStore,
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
        if tail.position() < mark || !tail.matches_log(&store).await? {
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

    /// Waits for a message, and takes whatever else has come. None: the consumer is broken.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Vec<async_nats::Message>> {
        let mut messages = Vec::new();
        let mut next = self.messages.next().await;
        loop {
            match next {
                Some(Ok(message)) => messages.push(message.message),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a consumer broke");
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

/// Why the stream could not be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Log(#[from] Unavailable),
}
