//! The read half of a client.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{Packet, Publish, QoS};
use tokio::io::ReadHalf;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::connect::BoxedSocket;
use super::error::ConnectionError;
use super::frames::{Frame, Frames};
use super::message::{Ack, Event, Message, Subscribed};

/// Longest wait for the broker to close the connection after DISCONNECT.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Receives messages. It waits for the network, and for acknowledgements when the broker exceeds the
/// Receive Maximum; never for the [`Writer`](super::Writer).
#[derive(Debug)]
pub struct Reader {
    frames: Frames<ReadHalf<BoxedSocket>>,
    filters: Arc<[String]>,
    acks: mpsc::Sender<u16>,
    /// A message, with the size of its payload, that waits for a place in `acks`. A broker within the
    /// Receive Maximum finds one free. Mosquitto 2.0.11 is so only until the first PUBACK.
    waiting: Option<(Publish, usize)>,
    /// Longest time without a packet. The writer pings, so a broker silent for so long is gone.
    max_silence: Duration,
    silent_since: Option<Instant>,
    /// Created once and moved on only when it fires: a timer a packet would cost more than the
    /// packet.
    timer: Pin<Box<Sleep>>,
}

impl Reader {
    pub(crate) fn new(
        frames: Frames<ReadHalf<BoxedSocket>>,
        filters: Arc<[String]>,
        acks: mpsc::Sender<u16>,
        keep_alive: Duration,
    ) -> Self {
        let max_silence = keep_alive.mul_f64(1.5);
        let timer = Box::pin(sleep_until(Instant::now() + max_silence));
        Self { frames, filters, acks, waiting: None, max_silence, silent_since: None, timer }
    }

    /// Waits for the next event, never [`Event::Writable`]. Cancel safe.
    pub async fn next(&mut self) -> Result<Event<u16>, ConnectionError> {
        loop {
            if self.waiting.is_some() {
                let place = self.acks.clone().reserve_owned().await.ok();
                if let Some((publish, size)) = self.waiting.take() {
                    let packet_id = publish.pkid;
                    let ack = place.map(|place| Ack { packet_id, place });
                    return Ok(Event::Message(message(publish, size, ack)));
                }
            }
            match self.try_next()? {
                Some(event) => return Ok(event),
                None if self.waiting.is_some() => {}
                None => self.fill().await?,
            }
        }
    }

    /// The next event, if its packet has been read from the socket already.
    pub fn try_next(&mut self) -> Result<Option<Event<u16>>, ConnectionError> {
        if self.waiting.is_some() {
            return Ok(None);
        }
        while let Some(frame) = self.frames.decode()? {
            let event = match frame {
                Frame::Packet(Packet::Publish(publish)) => {
                    let size = publish.payload.len();
                    return self.receive(publish, size);
                }
                Frame::Truncated { publish, size } => return self.receive(publish, size),
                Frame::Packet(Packet::PubAck(ack)) => {
                    Event::Acknowledged { tag: ack.pkid, reason: ack.reason }
                }
                Frame::Packet(Packet::SubAck(suback)) => Event::Subscribed(Subscribed {
                    filters: Arc::clone(&self.filters),
                    codes: suback.return_codes,
                }),
                Frame::Packet(Packet::UnsubAck(_) | Packet::PingResp) => continue,
                Frame::Packet(Packet::Disconnect(disconnect)) => {
                    return Err(ConnectionError::Disconnected(disconnect.reason_code));
                }
                Frame::Packet(_) => return Err(ConnectionError::unexpected_packet()),
            };
            return Ok(Some(event));
        }
        Ok(None)
    }

    /// Stops reading. Once every [`Ack`] is sent or dropped, [`Writer::run`](super::Writer::run)
    /// disconnects.
    pub fn stop(self) -> Closing {
        Closing(self.frames)
    }

    fn receive(
        &mut self,
        publish: Publish,
        size: usize,
    ) -> Result<Option<Event<u16>>, ConnectionError> {
        let ack = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => match self.acks.clone().try_reserve_owned() {
                Ok(place) => Some(Ack { packet_id: publish.pkid, place }),
                Err(TrySendError::Full(_)) => {
                    self.waiting = Some((publish, size));
                    return Ok(None);
                }
                // The writer has ended. The message is good all the same.
                Err(TrySendError::Closed(_)) => None,
            },
            // We subscribe at QoS 1, which the broker may lower but not raise.
            QoS::ExactlyOnce => return Err(ConnectionError::unexpected_packet()),
        };
        Ok(Some(Event::Message(message(publish, size, ack))))
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        // Not from the last packet on: the caller may have been busy for long since.
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        loop {
            tokio::select! {
                biased;
                read = self.frames.fill() => {
                    read?;
                    self.silent_since = None;
                    return Ok(());
                }
                () = self.timer.as_mut() => {
                    let deadline = since + self.max_silence;
                    if Instant::now() >= deadline {
                        return Err(ConnectionError::Timeout);
                    }
                    self.timer.as_mut().reset(deadline);
                }
            }
        }
    }
}

fn message(publish: Publish, size: usize, ack: Option<Ack>) -> Message {
    let Publish { topic, payload, retain, qos, dup: redelivered, pkid: packet_id, .. } = publish;
    Message { topic, payload, size, retain, redelivered, packet_id, qos, ack }
}

/// A connection that is no longer read, until the broker closes it.
///
/// Closing a socket that holds unread bytes resets the connection, and the broker loses what it has
/// not yet read: PUBACKs and DISCONNECT. So the broker closes first.
#[derive(Debug)]
pub struct Closing(Frames<ReadHalf<BoxedSocket>>);

impl Closing {
    /// Waits until the broker has closed the connection, for at most 2 s. To be called after
    /// DISCONNECT was written.
    pub async fn wait(mut self) {
        if timeout(LINGER, self.0.discard()).await.is_err() {
            tracing::debug!("MQTT broker did not close the connection after DISCONNECT");
        }
    }
}
