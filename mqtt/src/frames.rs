//! Decodes packets from the socket, with a limit on the bytes held of each.

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader, PacketType};
use rumqttc::{ConnAck, ConnectReturnCode, Packet, Publish};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::error::ConnectionError;
use super::v3;
use super::version::Version;

/// Bytes read from the socket at a time: some hundred readings.
const READ_BYTES: usize = 64 * 1024;
/// Length of the shortest CONNACK.
const CONNACK_BYTES: usize = 4;

/// A packet from the broker.
#[derive(Debug)]
pub(crate) enum Frame {
    Packet(Packet),
    /// A PUBLISH larger than the limit: its beginning, and the length of its whole payload.
    Truncated {
        publish: Publish,
        size: usize,
    },
}

/// A truncated PUBLISH whose end is still on the wire.
#[derive(Debug)]
struct Oversized {
    publish: Publish,
    size: usize,
    /// Bytes still to be skipped.
    remaining: usize,
}

/// The read half of a connection, decoded. All state is kept here, so every method is cancel safe.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    read: R,
    buffer: BytesMut,
    /// Bytes that the packet at the front of `buffer` lacks, at least.
    missing: usize,
    oversized: Option<Oversized>,
    version: Version,
    max_packet_bytes: u32,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(read: R, version: Version, max_packet_bytes: u32) -> Self {
        let buffer = BytesMut::new();
        Self { read, buffer, missing: 0, oversized: None, version, max_packet_bytes }
    }

    /// Waits for CONNACK. A broker that does not support our version answers in its own.
    pub(crate) async fn connack(&mut self) -> Result<ConnAck, ConnectionError> {
        while self.buffer.len() < CONNACK_BYTES {
            self.fill().await?;
        }
        if self.version == Version::V5
            && let Some(code) = v3::is_connack(&self.buffer)
        {
            return match v3::connect_code(code).map_err(ConnectionError::Handshake)? {
                ConnectReturnCode::RefusedProtocolVersion => {
                    Err(ConnectionError::Version(self.version))
                }
                code => Err(ConnectionError::Refused(code)),
            };
        }
        loop {
            match self.decode() {
                Ok(Some(Frame::Packet(Packet::ConnAck(connack)))) => return Ok(connack),
                Ok(Some(_)) => return Err(ConnectionError::Handshake(Error::ProtocolError)),
                Ok(None) => self.fill().await?,
                Err(ConnectionError::Protocol(error)) => {
                    return Err(ConnectionError::Handshake(error));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Decodes the next packet from the buffer; `None` if it is not complete yet.
    pub(crate) fn decode(&mut self) -> Result<Option<Frame>, ConnectionError> {
        if self.oversized.is_none() {
            match self.version.read(&mut self.buffer, self.max_packet_bytes) {
                Ok(packet) => return Ok(Some(Frame::Packet(packet))),
                Err(Error::InsufficientBytes(missing)) => {
                    self.missing = missing;
                    return Ok(None);
                }
                Err(Error::PayloadSizeLimitExceeded { pkt_size, max }) => {
                    let kept = max as usize;
                    if self.buffer.len() < kept {
                        self.missing = kept - self.buffer.len();
                        return Ok(None);
                    }
                    self.oversized = Some(self.truncate(pkt_size, kept)?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(oversized) = &mut self.oversized {
            let skipped = oversized.remaining.min(self.buffer.len());
            self.buffer.advance(skipped);
            oversized.remaining -= skipped;
        }
        self.missing = 1;
        let complete = self.oversized.take_if(|oversized| oversized.remaining == 0);
        Ok(complete.map(|Oversized { publish, size, .. }| Frame::Truncated { publish, size }))
    }

    /// Reads from the socket until more bytes are buffered.
    pub(crate) async fn fill(&mut self) -> Result<(), ConnectionError> {
        self.buffer.reserve(self.missing.max(READ_BYTES));
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(ConnectionError::Closed),
            _ => Ok(()),
        }
    }

    /// Reads and discards until the broker closes the connection.
    pub(crate) async fn discard(&mut self) {
        self.buffer.clear();
        while self.fill().await.is_ok() {
            self.buffer.clear();
        }
    }

    /// Takes the first `kept` bytes of a packet of `size` bytes from the buffer.
    fn truncate(&mut self, size: usize, kept: usize) -> Result<Oversized, ConnectionError> {
        let beginning = self.buffer.split_to(kept).freeze();
        // The length of a packet follows its first byte, seven bits to a byte.
        let digits = 1 + beginning[1..].iter().take_while(|&&byte| byte >= 0x80).count();
        let header = FixedHeader::new(beginning[0], digits, kept - 1 - digits);
        if header.packet_type()? != PacketType::Publish {
            return Err(Error::MalformedPacket.into());
        }
        let publish = self.version.message(header, beginning)?;
        let remaining = size - kept;
        Ok(Oversized { size: publish.payload.len() + remaining, publish, remaining })
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

    async fn next(frames: &mut Frames<&[u8]>) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = frames.decode()? {
                return Ok(frame);
            }
            frames.fill().await?;
        }
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_limit_is_truncated_and_the_next_is_complete() {
        for version in [Version::V3, Version::V5] {
            let wire =
                [publish(version, &vec![b'x'; 300_000]), publish(version, b"small")].concat();
            let mut frames = Frames::new(wire.as_slice(), version, 100_000);
            let Ok(Frame::Truncated { publish, size }) = next(&mut frames).await else {
                panic!("the first is too large")
            };
            assert_eq!((&publish.topic[..], publish.pkid, size), (&b"a/b"[..], 7, 300_000));
            assert!(publish.payload.len() < 100_000);
            let Ok(Frame::Packet(Packet::Publish(publish))) = next(&mut frames).await else {
                panic!("the second is not")
            };
            assert_eq!(&publish.payload[..], b"small");
            assert!(matches!(next(&mut frames).await, Err(ConnectionError::Closed)));
        }
    }
}
