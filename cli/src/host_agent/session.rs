//! Serves one connection: publishes samples, and echoes messages on [`echo::TOPIC`].

use mqtt::{Client, ConnectionError, Event, Message};
use rumqttc::{PubAckReason, QoS};
use tokio_util::sync::CancellationToken;

use super::echo::{self, Ignored};
use super::echo_queue::EchoQueue;
use super::outbox::Outbox;

/// What one connection works with.
pub(super) struct Work<'a> {
    /// Topic of the samples.
    pub(super) topic: &'a str,
    pub(super) outbox: &'a Outbox,
    /// Published on [`echo::TOPIC`] once the agent is subscribed to it.
    pub(super) hello: Option<&'a str>,
}

/// A message that was published.
#[derive(Debug)]
pub(super) enum Published {
    /// The sample of this number.
    Sample(u64),
    Other,
}

/// Serves the connection until it is lost, or until `shutdown`; then it disconnects.
pub(super) async fn run(
    client: Client<Published>,
    work: Work<'_>,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError> {
    // Answers leave one place free for a sample, unless the broker grants a single one.
    let reserved = usize::from(client.room() > 1);
    let queue = EchoQueue::default();
    let mut session = Session { client, work, queue, reserved, sample: Sample::Next { than: 0 } };
    match shutdown.run_until_cancelled(session.serve()).await {
        Some(error) => Err(error),
        None => session.client.disconnect().await,
    }
}

/// The state of the samples. One is in flight at a time: there is one every few seconds, and they
/// arrive in order.
#[derive(Clone, Copy)]
enum Sample {
    /// The oldest is published once one newer than this was added.
    Next {
        than: u64,
    },
    InFlight,
}

struct Session<'a> {
    client: Client<Published>,
    work: Work<'a>,
    queue: EchoQueue,
    /// Places in the window that answers leave free.
    reserved: usize,
    sample: Sample,
}

impl Session<'_> {
    /// Returns when the connection is lost.
    async fn serve(&mut self) -> ConnectionError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    async fn step(&mut self) -> Result<(), ConnectionError> {
        let than = match self.sample {
            Sample::Next { than } if self.client.room() > 0 => Some(than),
            Sample::Next { .. } | Sample::InFlight => None,
        };
        tokio::select! {
            event = self.client.next() => match event? {
                Event::Subscribed(subscribed) => {
                    subscribed.require(QoS::AtMostOnce)?;
                    self.greet()?;
                }
                Event::Message(message) => self.receive(message),
                Event::Acknowledged { tag, reason } => self.acknowledged(tag, reason)?,
                Event::Writable => {}
            },
            (number, sample) = self.work.outbox.next(than.unwrap_or_default()), if than.is_some() => {
                self.sample = Sample::InFlight;
                let topic = self.work.topic.to_owned();
                self.client.publish(topic, sample, Published::Sample(number))?;
            }
        }
        self.answer()
    }

    fn greet(&mut self) -> Result<(), ConnectionError> {
        tracing::info!(topic = echo::TOPIC, "agent subscribed");
        if let Some(hello) = self.work.hello {
            self.client.publish(echo::TOPIC, hello.to_owned(), Published::Other)?;
            tracing::info!(topic = echo::TOPIC, "message published");
        }
        Ok(())
    }

    fn receive(&mut self, message: Message) {
        let answer = if message.is_truncated() {
            Err(Ignored::TooLong)
        } else if self.work.hello.is_some_and(|hello| message.payload == hello.as_bytes()) {
            Err(Ignored::Own) // MQTT 3.1.1 has no No Local, and delivers our own messages.
        } else {
            echo::answer(&message.topic, message.retain, &message.payload)
        };
        let bytes = message.size;
        match self.queue.add(message.ack, answer) {
            Ok(()) => tracing::info!(topic = echo::TOPIC, bytes, "message received"),
            Err(reason) => {
                tracing::info!(topic = echo::TOPIC, bytes, %reason, "message ignored");
            }
        }
    }

    /// Publishes as many answers as there is room for, and acknowledges what they answer: not
    /// before, so that the broker sends no more than can be answered.
    fn answer(&mut self) -> Result<(), ConnectionError> {
        while let Some((ack, payload)) = self.queue.next(self.client.room() > self.reserved) {
            if let Some(payload) = payload {
                self.client.publish(echo::ANSWERS, payload, Published::Other)?;
            }
            if let Some(ack) = ack {
                ack.send();
            }
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        published: Published,
        reason: PubAckReason,
    ) -> Result<(), ConnectionError> {
        let Published::Sample(number) = published else { return Ok(()) };
        let outbox = self.work.outbox;
        match reason {
            PubAckReason::Success => {
                outbox.remove(number);
                self.sample = Sample::Next { than: 0 };
            }
            PubAckReason::NoMatchingSubscribers => {
                // The broker had no receiver and discarded the sample. The outbox keeps it.
                tracing::warn!(queued = outbox.count(), "no subscriber for samples, keeping them");
                self.sample = Sample::Next { than: outbox.newest() };
            }
            reason => {
                return Err(ConnectionError::Publish { topic: self.work.topic.to_owned(), reason });
            }
        }
        Ok(())
    }
}
