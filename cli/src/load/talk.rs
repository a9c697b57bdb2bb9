//! One connection of a device: sends what is due, and hears what was acknowledged. Nothing here
//! waits for the network alone: a broker that stops reading still has its answers read.

use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use rumqttc::mqttbytes;
use rumqttc::{Disconnect, DisconnectReasonCode, Packet, PubAck, PubAckReason, Publish, QoS};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::device::Device;
use super::packets::Packets;
use super::reading;
use mqtt::{Connection, Frame, Lost};

/// Messages a device may have sent and the broker not acknowledged, if the broker takes as many.
const WINDOW: u16 = 1000;
/// What is encoded ahead of the socket.
const OUT_BYTES: usize = 16 * 1024;
/// How long a device keeps still when the broker had nobody to give its message to, or refused it.
const HOLD: Duration = Duration::from_millis(250);
/// How long the broker has to read our goodbye and close the connection.
const LINGER: Duration = Duration::from_secs(2);

pub(super) struct Talk<'a> {
    device: &'a mut Device,
    packets: Packets,
    out: BytesMut,
    text: String,
    /// Since due, of what was acknowledged and is not yet added to the tally.
    waited: Vec<Duration>,
}

impl<'a> Talk<'a> {
    /// Ends well when everything was sent and acknowledged.
    pub(super) async fn run(device: &'a mut Device, connection: Connection) -> Result<(), Lost> {
        let packets = Packets::new(connection.receive_maximum.min(WINDOW));
        let (out, text, waited) = (BytesMut::new(), String::new(), Vec::new());
        let mut talk = Talk { device, packets, out, text, waited };
        let outcome = talk.until_done(connection).await;
        talk.settle();
        let Talk { device, packets, .. } = talk;
        device.queue.unanswered(packets.into_unanswered());
        outcome
    }

    async fn until_done(&mut self, connection: Connection) -> Result<(), Lost> {
        let Connection { mut frames, mut write, keep_alive, .. } = connection;
        let silence = keep_alive.mul_f64(1.5);
        let (mut ping_at, mut dead_at) =
            (Instant::now() + keep_alive / 2, Instant::now() + silence);
        let mut unflushed = false;
        let stop = self.device.controls.stop.clone();
        while !self.device.queue.is_done() {
            self.fill()?;
            unflushed |= !self.out.is_empty();
            let wake_at = self.wake_at().min(ping_at).min(dead_at);
            tokio::select! {
                frame = frames.next() => {
                    self.heard(frame?)?;
                    // Whatever came with it is there already.
                    while let Some(frame) = frames.next().now_or_never() {
                        self.heard(frame?)?;
                    }
                    self.settle();
                    dead_at = Instant::now() + silence;
                }
                done = write_some(&mut write, &mut self.out), if unflushed => {
                    done?;
                    unflushed = !self.out.is_empty();
                }
                () = sleep_until(wake_at) => {
                    let now = Instant::now();
                    if now >= dead_at {
                        return Err(Lost::Timeout);
                    }
                    if now >= ping_at {
                        Packet::PingReq.write(&mut self.out, None)?;
                        ping_at = now + keep_alive / 2;
                    }
                }
                () = stop.cancelled(), if !self.device.ended => {
                    self.device.ended = true;
                    self.device.queue.end(self.device.start.at.elapsed());
                }
            }
        }
        let goodbye = Disconnect::new(DisconnectReasonCode::NormalDisconnection);
        Packet::Disconnect(goodbye).write(&mut self.out, None)?;
        // All is acknowledged; what becomes of the goodbye is no matter.
        let goodbye = async {
            write.write_all_buf(&mut self.out).await?;
            write.shutdown().await?;
            frames.discard().await;
            Ok::<_, std::io::Error>(())
        };
        drop(timeout(LINGER, goodbye).await);
        Ok(())
    }

    /// Encodes what is due and may be sent.
    fn fill(&mut self) -> Result<(), mqttbytes::Error> {
        let now = Instant::now();
        let device = &mut *self.device;
        if now < device.hold {
            return Ok(());
        }
        let elapsed = now.saturating_duration_since(device.start.at);
        while self.out.len() < OUT_BYTES && !self.packets.is_full() {
            let Some(taken) = device.queue.take(elapsed) else { break };
            let Some(pkid) = self.packets.take(taken.sequence) else { break };
            self.text.clear();
            self.text.push('{');
            let message = (device.index, taken.sequence);
            reading::write(&mut self.text, &device.plan, device.start.wall, message);
            self.text.push('}');
            // Not marked as a duplicate: that speaks of one session's packets, and this is another.
            let publish = Publish {
                qos: QoS::AtLeastOnce,
                topic: device.topic.clone(),
                pkid,
                payload: self.text.as_bytes().to_vec().into(),
                ..Publish::default()
            };
            Packet::Publish(publish).write(&mut self.out, None)?;
            device.controls.tally.sent(taken.again);
        }
        Ok(())
    }

    /// When there is something to be sent, if nothing is heard before.
    fn wake_at(&self) -> Instant {
        let Device { queue, start, hold, .. } = &*self.device;
        let room = self.out.len() < OUT_BYTES && !self.packets.is_full();
        match queue.due().filter(|_| room) {
            Some(due) => (start.at + due).max(*hold),
            // What is heard, or written, makes room.
            None => Instant::now() + Duration::from_hours(1),
        }
    }

    fn heard(&mut self, frame: Frame) -> Result<(), Lost> {
        match frame {
            Frame::Packet(Packet::PubAck(ack)) => self.answered(ack),
            Frame::Packet(Packet::Publish(publish)) | Frame::Cut { publish, .. } => {
                if publish.qos != QoS::AtMostOnce {
                    Packet::PubAck(PubAck::new(publish.pkid, None)).write(&mut self.out, None)?;
                }
                Ok(())
            }
            Frame::Packet(Packet::Disconnect(goodbye)) => {
                Err(Lost::Disconnected(goodbye.reason_code))
            }
            // A broker may keep a device from its alerts; it is here to talk.
            Frame::Packet(Packet::SubAck(_) | Packet::PingResp) => Ok(()),
            Frame::Packet(_) => Err(mqttbytes::Error::ProtocolError.into()),
        }
    }

    fn answered(&mut self, ack: PubAck) -> Result<(), Lost> {
        let Some(sequence) = self.packets.answered(ack.pkid) else {
            return Err(mqttbytes::Error::ProtocolError.into());
        };
        let device = &mut *self.device;
        if ack.reason == PubAckReason::Success {
            if let Some(due) = device.queue.acknowledged(sequence) {
                self.waited.push(device.start.at.elapsed().saturating_sub(due));
            }
            return Ok(());
        }
        // "No matching subscribers": the broker took it, and has forgotten it. We have not.
        device.controls.tally.trouble(format!("the broker answers {:?}", ack.reason));
        device.queue.unanswered(vec![sequence]);
        device.hold = Instant::now() + HOLD;
        Ok(())
    }

    fn settle(&mut self) {
        if !self.waited.is_empty() {
            self.device.controls.tally.acknowledged(&self.waited);
            self.waited.clear();
        }
    }
}

/// Writes as much as the socket takes. Given up, nothing is lost.
async fn write_some(write: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> Result<(), Lost> {
    if !out.is_empty() && write.write_buf(out).await? == 0 {
        return Err(Lost::Closed);
    }
    if out.is_empty() {
        write.flush().await?; // TLS holds something back.
    }
    Ok(())
}
