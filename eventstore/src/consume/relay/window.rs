//! Messages in flight: published and not yet acknowledged. Many at a time, because one at a time is
//! slow; a bounded number, because each may have to be published again.

use std::collections::VecDeque;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Client, StatusCode, Subscriber};
use eventsourcing::Position;
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

use super::interrupted::Interrupted;
use crate::bus::message::Outgoing;
use crate::bus::{Bus, BusError};

/// Most messages in flight.
pub(crate) const WINDOW: usize = 1024;
/// No further message is sent while so many bytes are in flight.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// An event in the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) position: Position,
    pub(super) sequence: u64,
    pub(super) id: Uuid,
}

struct Sent {
    event: Published,
    bytes: usize,
}

/// The messages in flight and the inbox of their acknowledgements, which come in the order of the
/// messages, so that one subscription serves all.
pub(crate) struct Window {
    client: Client,
    inbox: String,
    acks: Subscriber,
    sent: VecDeque<Sent>,
    bytes: usize,
    /// A refusal that arrived together with the acknowledgements before it, which are returned first.
    refused: Option<Interrupted>,
}

impl Window {
    pub(crate) async fn open(bus: &Bus) -> Result<Self, BusError> {
        let client = bus.client().clone();
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*")).await;
        Ok(Self {
            acks: acks.map_err(BusError::Subscribe)?,
            client,
            inbox,
            sent: VecDeque::with_capacity(WINDOW),
            bytes: 0,
            refused: None,
        })
    }

    pub(crate) fn has_room(&self) -> bool {
        self.sent.len() < WINDOW && self.bytes < WINDOW_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The oldest position in flight.
    pub(crate) fn oldest(&self) -> Option<Position> {
        self.sent.front().map(|sent| sent.event.position)
    }

    /// Publishes the message of `event`, which is to have its sequence.
    pub(super) async fn publish(
        &mut self,
        event: Published,
        message: Outgoing,
    ) -> Result<(), BusError> {
        let (bytes, position) = (message.body.len(), event.position);
        self.sent.push_back(Sent { event, bytes });
        self.bytes += bytes;
        let reply = format!("{}.{position}", self.inbox);
        let Outgoing { subject, headers, body } = message;
        self.client
            .publish_with_reply_and_headers(subject, reply, headers, body)
            .await
            .map_err(BusError::Publish)
    }

    /// Waits for an acknowledgement, and takes all others that have arrived. Returns the last
    /// acknowledged event; a refusal behind it is returned by the next call. Cancel-safe.
    pub(super) async fn acknowledged(&mut self) -> Result<Published, Interrupted> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let first = self.acks.next().await;
        let mut acknowledged = self.settle(first)?;
        while let Some(next) = self.acks.next().now_or_never() {
            match self.settle(next) {
                Ok(event) => acknowledged = event,
                Err(refused) => {
                    self.refused = Some(refused);
                    break;
                }
            }
        }
        Ok(acknowledged)
    }

    /// Settles the oldest message in flight with what arrived: none if the connection was closed. What
    /// was refused stays in flight.
    fn settle(&mut self, arrived: Option<async_nats::Message>) -> Result<Published, Interrupted> {
        let message = arrived.ok_or(Interrupted::Away)?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Interrupted::Disturbed("it was deleted"));
        }
        let position = message.subject.rsplit('.').next();
        let position = position.and_then(|text| text.parse().ok()).map(Position);
        let Some(&Sent { event: sent, bytes }) = self.sent.front() else {
            return Err(Interrupted::OutOfOrder(position.unwrap_or(Position::START)));
        };
        if position != Some(sent.position) {
            return Err(Interrupted::NotStored(sent.position));
        }
        match serde_json::from_slice(&message.payload) {
            Ok(Response::Ok(PublishAck { sequence, duplicate, .. })) => {
                match (sequence == sent.sequence, duplicate) {
                    (true, false) => {
                        self.sent.pop_front();
                        self.bytes -= bytes;
                        Ok(sent)
                    }
                    (true, true) => Err(Interrupted::Rival),
                    (false, true) => Err(Interrupted::Remembered),
                    (false, false) => Err(Interrupted::OutOfOrder(sent.position)),
                }
            }
            Ok(Response::Err { error })
                if [
                    ErrorCode::STREAM_WRONG_LAST_SEQUENCE,
                    ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID,
                ]
                .contains(&error.error_code()) =>
            {
                Err(Interrupted::Overtaken(sent.position))
            }
            Ok(Response::Err { error }) => Err(Interrupted::Refused(sent.position, error)),
            Err(error) => Err(Interrupted::Unreadable(error)),
        }
    }
}
