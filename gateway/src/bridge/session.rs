//! One connection's life: a reader that takes messages, a writer that acknowledges them.
//!
//! They are two tasks. The writer never waits for the reader. The reader waits while too much is on
//! its way, and what makes room is the log and the writer, neither of which needs the reader. (A
//! loop that both polls the broker and awaits its own acknowledgements deadlocks; Vector shipped
//! that.)

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use chrono::Utc;
use rumqttc::{
    Disconnect, DisconnectReasonCode, Packet, Publish, QoS, SubAck, SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accounting::{Accounting, State};
use super::ingest::{Acknowledge, Taken};
use super::message::Message;
use mqtt::{Connection, Lost};
use mqtt::{Frame, Frames};

/// Acknowledgements written at once: 16 KiB.
const ACKS_AT_ONCE: usize = 4096;
/// How long the broker has to read the last acknowledgements and close the connection.
const LINGER: Duration = Duration::from_secs(2);

/// Where the reader puts what it takes; the same for every connection of a bridge.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) taken: mpsc::Sender<Taken>,
    /// Counts bytes. A receive maximum alone bounds messages, not memory: 4,096 of 4 MiB would be
    /// 16 GiB, and `QoS` 0 knows no receive maximum. When it is used up the reader stops reading,
    /// TCP fills up, and the broker keeps the rest. It is shared with what earlier connections
    /// left unfinished, so reconnecting during an outage of the log does not pile up either.
    pub(super) held: Arc<Semaphore>,
    pub(super) accounting: Arc<Accounting>,
}

/// Serves `connection` until it is lost, or until `shutdown`: then nothing more is taken, what was
/// taken is acknowledged, however long it takes, and the broker is told goodbye.
pub(super) async fn run(
    connection: Connection,
    filters: Arc<[String]>,
    receive_maximum: u16,
    intake: Intake,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let Connection { frames, write, keep_alive, .. } = connection;
    let (acknowledge, acks) = mpsc::channel(usize::from(receive_maximum));
    let tasks = TaskTracker::new();
    let writer = AbortOnDropHandle::new(tasks.spawn(write_acks(write, acks, keep_alive)));
    let reader = Reader { frames, acknowledge, filters, silence: keep_alive.mul_f64(1.5), intake };
    let reader = AbortOnDropHandle::new(tasks.spawn(reader.run(shutdown.clone())));
    let mut reading = pin!(async { reader.await.unwrap_or(Err(Lost::Closed)) });
    // It ends by itself when the reader has, and the last message taken here is settled.
    let mut writing = pin!(async { writer.await.unwrap_or(Err(Lost::Closed)) });
    let mut written = false;
    let mut frames = loop {
        tokio::select! {
            frames = &mut reading => break frames?,
            ended = &mut writing, if !written => match ended {
                Ok(()) => written = true, // The reader has ended as well: its answer comes next.
                Err(lost) => {
                    // What the socket still holds was acknowledged to its publisher, and a broker
                    // that was killed has it nowhere else.
                    drop(timeout(LINGER, reading).await);
                    return Err(lost);
                }
            },
        }
    };
    if !written {
        writing.await?;
    }
    // Closing a socket that holds unread bytes resets the connection, and what the broker has not
    // yet read of ours is gone: acknowledgements, and the goodbye. So it is the one to close.
    if timeout(LINGER, frames.discard()).await.is_err() {
        tracing::debug!("the broker did not answer the goodbye");
    }
    Ok(())
}

struct Reader<R> {
    frames: Frames<R>,
    acknowledge: mpsc::Sender<u16>,
    filters: Arc<[String]>,
    /// The writer pings; a broker that then says nothing for so long is gone.
    silence: Duration,
    intake: Intake,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Takes messages until the connection is lost, or until `shutdown`: then it lets go of its end
    /// of the writer's queue, and returns what is left.
    async fn run(mut self, shutdown: CancellationToken) -> Result<Frames<R>, Lost> {
        let reading = async {
            loop {
                if let Err(lost) = self.next().await {
                    return lost;
                }
            }
        };
        match shutdown.run_until_cancelled(reading).await {
            Some(lost) => Err(lost),
            None => Ok(self.frames),
        }
    }

    async fn next(&mut self) -> Result<(), Lost> {
        let frame = timeout(self.silence, self.frames.next())
            .await
            .unwrap_or_else(|_elapsed| Err(Lost::Timeout))?;
        match frame {
            Frame::Packet(Packet::Publish(publish)) => {
                let size = publish.payload.len();
                self.take(publish, size).await
            }
            Frame::Cut { publish, size } => self.take(publish, size).await,
            Frame::Packet(Packet::SubAck(suback)) => self.subscribed(&suback),
            Frame::Packet(Packet::UnsubAck(_) | Packet::PingResp) => Ok(()),
            Frame::Packet(Packet::Disconnect(disconnect)) => {
                Err(Lost::Disconnected(disconnect.reason_code))
            }
            Frame::Packet(_) => Err(rumqttc::mqttbytes::Error::ProtocolError.into()),
        }
    }

    /// Hands a message on. It counts as received when nothing can come between any more.
    async fn take(&mut self, publish: Publish, size: usize) -> Result<(), Lost> {
        let qos0 = publish.qos == QoS::AtMostOnce;
        let acknowledge = match publish.qos {
            QoS::AtMostOnce => None,
            // A subscription at QoS 1 brings nothing higher.
            QoS::ExactlyOnce => return Err(rumqttc::mqttbytes::Error::ProtocolError.into()),
            // Free already, if the broker keeps to the receive maximum. Mosquitto 2.0.11 does so
            // only until the first PUBACK; what it sends too early waits in the socket.
            QoS::AtLeastOnce => match self.acknowledge.clone().reserve_owned().await {
                Ok(place) => Some(Acknowledge { packet_id: publish.pkid, place }),
                // Nobody would hear the acknowledgement. What came is recorded all the same.
                Err(_writer_ended) => None,
            },
        };
        let message = Message::new(&publish.topic, &publish.payload, size, Utc::now());
        drop(publish); // It holds on to the buffer it was read from.
        let weight = u32::try_from(message.weight()).unwrap_or(u32::MAX);
        let held = Arc::clone(&self.intake.held).acquire_many_owned(weight).await;
        let place = self.intake.taken.reserve().await;
        let (Ok(held), Ok(place)) = (held, place) else {
            return Err(Lost::Closed);
        };
        self.intake.accounting.received(qos0);
        place.send(Taken { message, acknowledge, held });
        Ok(())
    }

    fn subscribed(&self, suback: &SubAck) -> Result<(), Lost> {
        for (filter, code) in self.filters.iter().zip(&suback.return_codes) {
            // QoS 0 would mean losing messages without anybody knowing.
            if !matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce)) {
                return Err(Lost::Subscription {
                    filter: filter.clone(),
                    reason: format!("{code:?}"),
                });
            }
        }
        self.intake.accounting.state(State::Connected);
        Ok(())
    }
}

/// Writes acknowledgements, as many at once as there are, and a ping now and then. Ends with a
/// goodbye when no acknowledgement can come any more. All three are the same bytes in both versions
/// of MQTT.
async fn write_acks(
    mut write: impl AsyncWrite + Unpin,
    mut acks: mpsc::Receiver<u16>,
    keep_alive: Duration,
) -> Result<(), Lost> {
    let mut ping = interval((keep_alive / 2).max(Duration::from_secs(1)));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut packet_ids = Vec::with_capacity(ACKS_AT_ONCE);
    let mut buffer = BytesMut::with_capacity(4 * ACKS_AT_ONCE);
    loop {
        tokio::select! {
            count = acks.recv_many(&mut packet_ids, ACKS_AT_ONCE) => {
                if count == 0 {
                    break;
                }
                for packet_id in packet_ids.drain(..) {
                    // PUBACK, success: the two bytes of its header and the id.
                    buffer.put_u16(0x4002);
                    buffer.put_u16(packet_id);
                }
            }
            _ = ping.tick() => {
                Packet::PingReq.write(&mut buffer, None)?;
            }
        }
        write.write_all_buf(&mut buffer).await?;
        write.flush().await?;
    }
    let goodbye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
    Packet::Disconnect(goodbye).write(&mut buffer, None)?;
    write.write_all_buf(&mut buffer).await?;
    write.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt::BoxedSocket;
    use mqtt::Version;

    #[tokio::test]
    async fn what_came_before_the_broker_died_is_taken() {
        let mut wire = BytesMut::new();
        for pkid in 1..=100 {
            let mut publish = Publish::new("a/b", QoS::AtLeastOnce, vec![b'x'; 2_000], None);
            publish.pkid = pkid;
            publish.write(&mut wire).unwrap();
        }
        // Nobody is there to be written to, which the first ping shows, before anything is read.
        let (nobody, _) = tokio::io::duplex(1);
        let (sender, receiver) = tokio::io::duplex(1_000);
        let dead: BoxedSocket = Box::new(tokio::io::join(receiver, nobody));
        let sending = async {
            let mut sender = sender;
            sender.write_all(&wire).await.unwrap();
        };
        let (taken, mut messages) = mpsc::channel(512);
        let accounting = Arc::new(Accounting::new("test"));
        let held = Arc::new(Semaphore::new(1 << 20));
        let intake = Intake { taken, held, accounting: Arc::clone(&accounting) };
        let (read, write) = tokio::io::split(dead);
        let connection = Connection {
            frames: Frames::new(read, Version::V5, 10_000),
            version: Version::V5,
            write,
            keep_alive: Duration::from_secs(30),
            receive_maximum: 10,
            resumed: false,
        };
        let shutdown = CancellationToken::new();
        let running = run(connection, Arc::from([]), 10, intake, &shutdown);
        let (ended, ()) = tokio::join!(running, sending);
        assert!(matches!(ended, Err(Lost::Io(_))), "the writer's failure is what is told");
        assert_eq!((accounting.snapshot().received, accounting.snapshot().qos0), (100, 0));
        messages.close();
        assert_eq!(messages.len(), 100);
    }
}
