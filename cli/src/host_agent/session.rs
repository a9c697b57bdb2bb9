//! One connection's life: a reader that hears, a writer that publishes samples and answers.
//!
//! The reader never waits for acknowledgements, only for the writer, and the writer only for the
//! network. What has to wait for the broker's leave, waits in `Answers`.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::{
    Disconnect, DisconnectReasonCode, Packet, PubAck, PubAckReason, Publish, QoS, SubAck,
    SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::echo::{self, Ignored};
use super::echo_queue::Answers;
use super::outbox::Kept;
use mqtt::{Connection, Frame, Frames, Lost, Version};

/// Messages we have under way at most, if the broker takes as many.
const WINDOW: u16 = 64;
/// Packets between the reader and the writer.
const HANDOVER: usize = 64;
/// How long the broker has to read our goodbye and close the connection.
const LINGER: Duration = Duration::from_secs(2);

/// What one connection works with.
pub(super) struct Work<'a> {
    /// Where samples go.
    pub(super) topic: &'a str,
    pub(super) kept: &'a Kept,
    /// What is said on `test/topic` once we listen there ourselves.
    pub(super) hello: Option<&'a str>,
}

/// Serves `connection` until it is lost, or until `shutdown`: then the broker is told goodbye.
pub(super) async fn run(
    connection: Connection,
    work: Work<'_>,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let Connection { mut frames, write, version, keep_alive, receive_maximum, .. } = connection;
    let (tell, heard) = mpsc::channel(HANDOVER);
    let writer = Writer {
        write,
        version,
        buffer: BytesMut::new(),
        work,
        answers: Answers::default(),
        window: usize::from(receive_maximum.min(WINDOW)),
        under_way: HashMap::new(),
        last_id: 0,
        sample: Sample::Next { than: 0 },
    };
    let reading = async {
        // The writer ends when it hears no more.
        let hearing = hear(&mut frames, tell, keep_alive.mul_f64(1.5));
        shutdown.run_until_cancelled(hearing).await.unwrap_or(Ok(()))
    };
    tokio::try_join!(reading, writer.run(heard, keep_alive))?;
    // Closing a socket that holds unread bytes resets the connection, and what the broker has not
    // yet read of ours is gone: the last sample, and the goodbye. So it is the one to close.
    if timeout(LINGER, frames.discard()).await.is_err() {
        tracing::debug!("the broker did not answer the goodbye");
    }
    Ok(())
}

/// What the writer has to know.
enum Heard {
    Subscribed,
    Message(Publish, Result<Bytes, Ignored>),
    Acknowledged(PubAck),
}

async fn hear<R: AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    tell: mpsc::Sender<Heard>,
    // The writer pings; a broker that then says nothing for so long is gone.
    silence: Duration,
) -> Result<(), Lost> {
    loop {
        let frame =
            timeout(silence, frames.next()).await.unwrap_or_else(|_elapsed| Err(Lost::Timeout))?;
        let heard = match frame {
            Frame::Packet(Packet::Publish(publish)) => {
                let answer = echo::answer(&publish.topic, publish.retain, &publish.payload);
                Heard::Message(publish, answer)
            }
            Frame::Cut { publish, .. } => Heard::Message(publish, Err(Ignored::TooLong)),
            Frame::Packet(Packet::PubAck(puback)) => Heard::Acknowledged(puback),
            Frame::Packet(Packet::SubAck(suback)) => subscribed(&suback)?,
            Frame::Packet(Packet::PingResp) => continue,
            Frame::Packet(Packet::Disconnect(disconnect)) => {
                return Err(Lost::Disconnected(disconnect.reason_code));
            }
            Frame::Packet(_) => return Err(rumqttc::mqttbytes::Error::ProtocolError.into()),
        };
        if tell.send(heard).await.is_err() {
            return Ok(()); // The writer says why.
        }
    }
}

fn subscribed(suback: &SubAck) -> Result<Heard, Lost> {
    match suback.return_codes.first() {
        Some(SubscribeReasonCode::Success(_)) => Ok(Heard::Subscribed),
        refused => {
            Err(Lost::Subscription { filter: echo::TOPIC.into(), reason: format!("{refused:?}") })
        }
    }
}

/// How it stands with the samples. One is under way at a time: there is one every few seconds, and
/// they arrive in order.
#[derive(Clone, Copy)]
enum Sample {
    /// The oldest may go once there is one newer than this.
    Next {
        than: u64,
    },
    UnderWay,
}

/// A message that the broker has not acknowledged yet.
enum UnderWay {
    /// The number it is kept under.
    Sample(u64),
    Other,
}

struct Writer<'a, W> {
    write: W,
    version: Version,
    buffer: BytesMut,
    work: Work<'a>,
    answers: Answers,
    /// Messages that may be under way.
    window: usize,
    under_way: HashMap<u16, UnderWay>,
    /// The packet id chosen last.
    last_id: u16,
    sample: Sample,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Ends with a goodbye when nothing is heard any more.
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<Heard>,
        keep_alive: Duration,
    ) -> Result<(), Lost> {
        let mut ping = interval((keep_alive / 2).max(Duration::from_secs(1)));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let than = match self.sample {
                Sample::Next { than } if self.under_way.len() < self.window => Some(than),
                Sample::Next { .. } | Sample::UnderWay => None,
            };
            tokio::select! {
                heard = heard.recv() => match heard {
                    Some(heard) => self.heard(heard)?,
                    None => break,
                },
                (number, sample) = self.work.kept.next(than.unwrap_or_default()), if than.is_some() => {
                    self.sample = Sample::UnderWay;
                    self.publish(self.work.topic, sample, UnderWay::Sample(number))?;
                }
                _ = ping.tick() => {
                    self.version.write(&Packet::PingReq, &mut self.buffer)?;
                }
            }
            self.write.write_all_buf(&mut self.buffer).await?;
            self.write.flush().await?;
        }
        let goodbye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        self.version.write(&Packet::Disconnect(goodbye), &mut self.buffer)?;
        self.write.write_all_buf(&mut self.buffer).await?;
        self.write.shutdown().await?;
        Ok(())
    }

    fn heard(&mut self, heard: Heard) -> Result<(), Lost> {
        match heard {
            Heard::Subscribed => {
                tracing::info!(topic = echo::TOPIC, "listening");
                if let Some(hello) = self.work.hello {
                    self.publish(echo::TOPIC, hello.to_owned().into(), UnderWay::Other)?;
                    tracing::info!(topic = echo::TOPIC, "message published");
                }
            }
            Heard::Message(publish, answer) => {
                // MQTT 3.1.1 knows no No Local, and brings us what we said ourselves.
                let own = self.work.hello.is_some_and(|hello| publish.payload == hello.as_bytes());
                let answer = if own { Err(Ignored::Own) } else { answer };
                let acknowledge = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
                let waits = answer.and_then(|payload| self.answers.add(acknowledge, &payload));
                let bytes = publish.payload.len();
                match waits {
                    Ok(()) => tracing::info!(topic = echo::TOPIC, bytes, "message received"),
                    Err(reason) => {
                        tracing::info!(topic = echo::TOPIC, bytes, %reason, "message ignored");
                        self.acknowledge(acknowledge)?;
                    }
                }
            }
            Heard::Acknowledged(puback) => self.acknowledged(&puback)?,
        }
        self.answer()
    }

    /// Answers as many as there is room for. One place stays free for a sample.
    fn answer(&mut self) -> Result<(), Lost> {
        let room = self.window.saturating_sub(1).max(1);
        while self.under_way.len() < room
            && let Some((acknowledge, payload)) = self.answers.next()
        {
            self.publish(echo::ANSWERS, payload, UnderWay::Other)?;
            // Not before, so that the broker sends no more than can be answered.
            self.acknowledge(acknowledge)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, packet_id: Option<u16>) -> Result<(), Lost> {
        if let Some(packet_id) = packet_id {
            let ack = Packet::PubAck(PubAck::new(packet_id, None));
            self.version.write(&ack, &mut self.buffer)?;
        }
        Ok(())
    }

    fn acknowledged(&mut self, puback: &PubAck) -> Result<(), Lost> {
        let under_way = self.under_way.remove(&puback.pkid);
        if let Some(UnderWay::Sample(number)) = under_way {
            let kept = self.work.kept;
            match puback.reason {
                PubAckReason::Success => {
                    kept.done(number);
                    self.sample = Sample::Next { than: 0 };
                }
                PubAckReason::NoMatchingSubscribers => {
                    // The broker had nobody to give it to, and has forgotten it. We have not.
                    tracing::warn!(kept = kept.count(), "nobody takes the samples of hosts yet");
                    self.sample = Sample::Next { than: kept.newest() };
                }
                reason => return Err(Lost::Publish { topic: self.work.topic.to_owned(), reason }),
            }
        }
        Ok(())
    }

    fn publish(&mut self, topic: &str, payload: Bytes, what: UnderWay) -> Result<(), Lost> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.pkid = self.free_id();
        self.under_way.insert(publish.pkid, what);
        self.version.write(&Packet::Publish(publish), &mut self.buffer)?;
        Ok(())
    }

    /// There is one: the window is smaller than the number of ids.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.under_way.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
