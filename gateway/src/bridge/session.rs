//! Serves one connection: a reader that takes messages, a writer that acknowledges them.
//!
//! They are two tasks. The writer never waits for the reader. The reader waits while too much is in
//! flight, until the log and the writer make room, neither of which needs the reader. (A loop that
//! both polls the broker and awaits its own acknowledgements deadlocks; Vector shipped that.)

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use mqtt::{Client, Closing, ConnectionError, Event, Reader};
use rumqttc::QoS;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accounting::{Accounting, State};
use super::ingest::Taken;
use super::message::{Delivery, Message};
use crate::backpressure::Backpressure;

/// Time to read what the socket still holds, after the connection can no longer be written to.
const LINGER: Duration = Duration::from_secs(2);

/// Where the reader puts messages; the same for every connection of a bridge.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) taken: mpsc::Sender<Taken>,
    /// Counts bytes. A receive maximum alone bounds messages, not memory: 4,096 of 4 MiB would be
    /// 16 GiB, and `QoS` 0 has no receive maximum. When it is used up the reader stops reading, TCP
    /// fills up, and the broker queues the rest. It is shared with what earlier connections left
    /// unfinished, so reconnecting during an outage of the log does not accumulate either.
    pub(super) held: Arc<Semaphore>,
    pub(super) accounting: Arc<Accounting>,
    pub(super) backpressure: Backpressure,
}

/// Serves the connection until it is lost, or until `shutdown`: then nothing more is read, what was
/// taken is acknowledged, however long it takes, and the bridge disconnects.
pub(super) async fn run(
    client: Client<()>,
    intake: Intake,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError> {
    let (reader, writer) = client.split();
    let tasks = TaskTracker::new();
    // Cancelled when what the socket still holds must be taken, even if the intake is paused.
    let lingering = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "awaited below")]
    let writer = AbortOnDropHandle::new(tasks.spawn(writer.run()));
    #[expect(clippy::disallowed_methods, reason = "awaited below")]
    let reader = AbortOnDropHandle::new(tasks.spawn(read(
        reader,
        intake,
        shutdown.clone(),
        lingering.clone(),
    )));
    let mut reading = pin!(async { reader.await.unwrap_or_else(panicked) });
    // Ends by itself when the reader has ended and the last message taken here is settled.
    let mut writing = pin!(async { writer.await.unwrap_or_else(panicked) });
    let mut written = false;
    let closing = loop {
        tokio::select! {
            closing = &mut reading => break closing?,
            ended = &mut writing, if !written => match ended {
                Ok(()) => written = true, // The reader has ended as well: its result comes next.
                Err(error) => {
                    // What the socket still holds was acknowledged to its publisher, and a broker
                    // that was killed has it nowhere else.
                    lingering.cancel();
                    drop(timeout(LINGER, reading).await);
                    return Err(error);
                }
            },
        }
    };
    if !written {
        writing.await?;
    }
    closing.wait().await;
    Ok(())
}

/// A panic in a task of the connection closes the connection: unacknowledged messages are redelivered.
fn panicked<T>(error: JoinError) -> Result<T, ConnectionError> {
    tracing::error!(%error, "task of the MQTT connection panicked, reconnecting");
    metrics::counter!("tributary_task_panics_total", "task" => "MQTT connection").increment(1);
    Err(ConnectionError::Closed)
}

/// Takes messages until the connection is lost, or until `shutdown`.
async fn read(
    mut reader: Reader,
    mut intake: Intake,
    shutdown: CancellationToken,
    lingering: CancellationToken,
) -> Result<Closing, ConnectionError> {
    let reading = async {
        loop {
            if let Err(error) = take(&mut reader, &mut intake, &lingering).await {
                return error;
            }
        }
    };
    match shutdown.run_until_cancelled(reading).await {
        Some(error) => Err(error),
        None => Ok(reader.stop()),
    }
}

/// Waits for an event. A message counts as received when it is certain to be handed on.
async fn take(
    reader: &mut Reader,
    intake: &mut Intake,
    lingering: &CancellationToken,
) -> Result<(), ConnectionError> {
    let received = match reader.next().await? {
        Event::Message(message) => message,
        Event::Subscribed(subscribed) => {
            subscribed.require(QoS::AtLeastOnce)?; // QoS 0 would lose messages silently.
            intake.accounting.state(State::Connected);
            tracing::info!("MQTT bridge subscribed");
            return Ok(());
        }
        Event::Acknowledged { .. } | Event::Writable => {
            return Err(ConnectionError::unexpected_packet());
        }
    };
    let qos0 = received.qos == QoS::AtMostOnce;
    let delivery = Delivery {
        retained: received.retain,
        redelivered: received.redelivered,
        packet_id: received.packet_id,
    };
    let message = Message::new(&received.topic, &received.payload, received.size, Utc::now());
    let message = message.delivered(delivery);
    let ack = received.ack; // The rest is dropped: it retains the read buffer.
    // While the intake is paused, nothing more is read and the broker queues the messages.
    lingering.run_until_cancelled(intake.backpressure.released()).await;
    let weight = u32::try_from(message.weight()).unwrap_or(u32::MAX);
    let held = Arc::clone(&intake.held).acquire_many_owned(weight).await;
    let place = intake.taken.reserve().await;
    let (Ok(held), Ok(place)) = (held, place) else {
        return Err(ConnectionError::Closed);
    };
    intake.accounting.received(qos0);
    place.send(Taken { message, ack, held });
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use mqtt::{BoxedSocket, Options, Version};
    use rumqttc::Publish;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn messages_received_before_the_broker_died_are_taken() {
        take_from_a_dead_broker(Backpressure::never()).await;
        let (_sender, paused) = Backpressure::paused_for_test();
        take_from_a_dead_broker(paused).await;
    }

    async fn take_from_a_dead_broker(backpressure: Backpressure) {
        let mut wire = BytesMut::new();
        for pkid in 1..=100 {
            let mut publish = Publish::new("a/b", QoS::AtLeastOnce, vec![b'x'; 2_000], None);
            publish.pkid = pkid;
            publish.write(&mut wire).unwrap();
        }
        // The write half is closed, which the first ping shows before anything is read.
        let (closed, _) = tokio::io::duplex(1);
        let (sender, receiver) = tokio::io::duplex(1_000);
        let dead: BoxedSocket = Box::new(tokio::io::join(receiver, closed));
        let sending = async {
            let mut sender = sender;
            sender.write_all(&wire).await.unwrap();
        };
        let (taken, mut messages) = mpsc::channel(512);
        let accounting = Arc::new(Accounting::new("test"));
        let held = Arc::new(Semaphore::new(1 << 20));
        let intake = Intake { taken, held, accounting: Arc::clone(&accounting), backpressure };
        let options = Options {
            receive_maximum: 10,
            max_packet_bytes: 10_000,
            ..Options::new("mqtt://broker", "bridge")
        };
        let client = Client::established(dead, Version::V5, &options);
        let shutdown = CancellationToken::new();
        let (ended, ()) = tokio::join!(run(client, intake, &shutdown), sending);
        assert!(matches!(ended, Err(ConnectionError::Io(_))), "the writer's error is returned");
        assert_eq!((accounting.snapshot().received, accounting.snapshot().qos0), (100, 0));
        messages.close();
        assert_eq!(messages.len(), 100);
    }
}
