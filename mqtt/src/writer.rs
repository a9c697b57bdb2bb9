//! The write half of a client.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use rumqttc::{Disconnect, DisconnectReasonCode, Packet};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::connect::BoxedSocket;
use super::error::ConnectionError;
use super::version::Version;

/// PUBACKs written at once: 16 KiB.
const ACKS_AT_ONCE: usize = 4096;
/// Bytes that are encoded ahead of the socket before the buffer counts as full.
const BUFFER_BYTES: usize = 16 * 1024;

/// Writes PUBACKs and pings, as many as there are with one flush. It waits for the network only.
#[derive(Debug)]
pub struct Writer {
    write: WriteHalf<BoxedSocket>,
    version: Version,
    buffer: BytesMut,
    /// Something was encoded since the last flush.
    unflushed: bool,
    acks: mpsc::Receiver<u16>,
    packet_ids: Vec<u16>,
    ping: Interval,
}

/// Why [`Writer::drive`] returned.
pub(crate) enum Driven {
    /// The buffer was full and is empty now.
    Writable,
    /// No acknowledgement can come any more.
    Finished,
}

impl Writer {
    pub(crate) fn new(
        write: WriteHalf<BoxedSocket>,
        version: Version,
        acks: mpsc::Receiver<u16>,
        keep_alive: Duration,
    ) -> Self {
        let mut ping = interval((keep_alive / 2).max(Duration::from_secs(1)));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (buffer, packet_ids) = (BytesMut::new(), Vec::new());
        Self { write, version, buffer, unflushed: false, acks, packet_ids, ping }
    }

    /// Writes until every [`Ack`](super::Ack) is sent or dropped and the reader has stopped; then
    /// sends DISCONNECT. However long that takes: what was received is acknowledged first.
    pub async fn run(mut self) -> Result<(), ConnectionError> {
        while let Driven::Writable = self.drive().await? {}
        self.disconnect().await
    }

    /// Whether [`BUFFER_BYTES`] wait for the socket.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER_BYTES
    }

    /// Encodes a packet into the buffer.
    pub(crate) fn encode(&mut self, packet: &Packet) -> Result<(), ConnectionError> {
        self.version.write(packet, &mut self.buffer)?;
        self.unflushed = true;
        Ok(())
    }

    /// Writes what is in the buffer, and from then on PUBACKs and pings. Cancel safe.
    pub(crate) async fn drive(&mut self) -> Result<Driven, ConnectionError> {
        loop {
            let full = self.is_full();
            self.flush().await?;
            if full {
                return Ok(Driven::Writable);
            }
            tokio::select! {
                count = self.acks.recv_many(&mut self.packet_ids, ACKS_AT_ONCE) => {
                    if count == 0 {
                        return Ok(Driven::Finished);
                    }
                    self.encode_acks();
                }
                _ = self.ping.tick() => self.encode(&Packet::PingReq)?,
            }
        }
    }

    /// Sends the PUBACKs that are due, and DISCONNECT, and closes this half of the connection.
    pub(crate) async fn disconnect(&mut self) -> Result<(), ConnectionError> {
        while let Ok(packet_id) = self.acks.try_recv() {
            self.packet_ids.push(packet_id);
        }
        self.encode_acks();
        let reason = DisconnectReasonCode::NormalDisconnection;
        self.encode(&Packet::Disconnect(Disconnect::new(reason)))?;
        self.flush().await?;
        self.write.shutdown().await?;
        Ok(())
    }

    fn encode_acks(&mut self) {
        for packet_id in self.packet_ids.drain(..) {
            // PUBACK, success, in either version: the two bytes of its header and the id.
            self.buffer.put_u16(0x4002);
            self.buffer.put_u16(packet_id);
            self.unflushed = true;
        }
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        if self.unflushed {
            self.write.write_all_buf(&mut self.buffer).await?;
            self.write.flush().await?; // TLS holds the last record back otherwise.
            self.unflushed = false;
        }
        Ok(())
    }
}
