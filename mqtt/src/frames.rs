//! Packets off the wire, with a limit on what is held of any one of them.

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader, PacketType};
use rumqttc::{ConnAck, ConnectReturnCode, Packet, Publish};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::connection::Lost;
use super::v3;
use super::version::Version;

/// What is asked of the socket at a time: a hundred readings or so.
const READ_BYTES: usize = 64 * 1024;
/// The shortest answer to CONNECT there is.
const CONNACK_BYTES: usize = 4;

/// What came in.
#[derive(Debug)]
pub enum Frame {
    Packet(Packet),
    /// A message larger than we hold: its beginning, and how long its payload was.
    Cut {
        publish: Publish,
        size: usize,
    },
}

#[derive(Debug)]
pub struct Frames<R> {
    read: R,
    buffer: BytesMut,
    version: Version,
    max_packet_bytes: u32,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub fn new(read: R, version: Version, max_packet_bytes: u32) -> Self {
        Self { read, buffer: BytesMut::with_capacity(READ_BYTES), version, max_packet_bytes }
    }

    /// Waits for the answer to CONNECT. A broker that does not speak our version says so in its own.
    pub async fn connack(&mut self) -> Result<ConnAck, Lost> {
        while self.buffer.len() < CONNACK_BYTES {
            self.fill(CONNACK_BYTES - self.buffer.len()).await?;
        }
        if self.version == Version::V5
            && let Some(code) = v3::is_connack(&self.buffer)
        {
            return match v3::connect_code(code).map_err(Lost::Handshake)? {
                ConnectReturnCode::RefusedProtocolVersion => Err(Lost::Version(self.version)),
                code => Err(Lost::Refused(code)),
            };
        }
        match self.next().await {
            Ok(Frame::Packet(Packet::ConnAck(connack))) => Ok(connack),
            Ok(_) => Err(Lost::Handshake(Error::ProtocolError)),
            Err(Lost::Protocol(error)) => Err(Lost::Handshake(error)),
            Err(lost) => Err(lost),
        }
    }

    /// Waits for the next packet. Given up while it waits for a packet, nothing is lost; given up
    /// in the middle of a large one, the connection is of no further use.
    pub async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            match self.version.read(&mut self.buffer, self.max_packet_bytes) {
                Ok(packet) => return Ok(Frame::Packet(packet)),
                Err(Error::InsufficientBytes(missing)) => self.fill(missing).await?,
                Err(Error::PayloadSizeLimitExceeded { pkt_size, max }) => {
                    return self.cut(pkt_size, max as usize).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until the broker closes the connection, and keeps nothing.
    pub async fn discard(&mut self) {
        self.buffer.clear();
        while self.fill(1).await.is_ok() {
            self.buffer.clear();
        }
    }

    /// Takes a packet of `size` bytes off the wire, keeping its first `kept`.
    async fn cut(&mut self, size: usize, kept: usize) -> Result<Frame, Lost> {
        while self.buffer.len() < kept {
            self.fill(kept - self.buffer.len()).await?;
        }
        let beginning = self.buffer.split_to(kept).freeze();
        let mut skip = size - kept;
        while skip > 0 {
            if self.buffer.is_empty() {
                self.fill(1).await?;
            }
            let skipped = skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            skip -= skipped;
        }
        // The length of a packet stands behind its first byte, seven bits to a byte.
        let digits = 1 + beginning[1..].iter().take_while(|&&byte| byte >= 0x80).count();
        let header = FixedHeader::new(beginning[0], digits, kept - 1 - digits);
        if header.packet_type()? != PacketType::Publish {
            return Err(Error::MalformedPacket.into());
        }
        let publish = self.version.message(header, beginning)?;
        let size = publish.payload.len() + size - kept;
        Ok(Frame::Cut { publish, size })
    }

    async fn fill(&mut self, missing: usize) -> Result<(), Lost> {
        self.buffer.reserve(missing.max(READ_BYTES));
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(Lost::Closed),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::QoS;

    fn publish(version: Version, payload: &[u8]) -> Vec<u8> {
        let mut publish = Publish::new("a/b", QoS::AtLeastOnce, payload.to_vec(), None);
        publish.pkid = 7;
        let mut bytes = BytesMut::new();
        version.write(&Packet::Publish(publish), &mut bytes).unwrap();
        bytes.to_vec()
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_limit_is_cut_and_the_next_is_whole() {
        for version in [Version::V3, Version::V5] {
            let wire =
                [publish(version, &vec![b'x'; 300_000]), publish(version, b"small")].concat();
            let mut frames = Frames::new(wire.as_slice(), version, 100_000);
            let Ok(Frame::Cut { publish, size }) = frames.next().await else {
                panic!("the first is too large")
            };
            assert_eq!((&publish.topic[..], publish.pkid, size), (&b"a/b"[..], 7, 300_000));
            assert!(publish.payload.len() < 100_000);
            let Ok(Frame::Packet(Packet::Publish(publish))) = frames.next().await else {
                panic!("the second is not")
            };
            assert_eq!(&publish.payload[..], b"small");
            assert!(matches!(frames.next().await, Err(Lost::Closed)));
        }
    }
}
