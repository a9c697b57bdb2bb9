//! Packets off the wire, with a limit on what is held of any one of them.

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::{Error, FixedHeader, PacketType};
use rumqttc::{Packet, Publish};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::connection::Lost;

/// What is asked of the socket at a time: a hundred readings or so.
const READ_BYTES: usize = 64 * 1024;

/// What came in.
#[derive(Debug)]
pub(crate) enum Frame {
    Packet(Packet),
    /// A message larger than we hold: its beginning, and how long its payload was.
    Cut {
        publish: Publish,
        size: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Frames<R> {
    read: R,
    buffer: BytesMut,
    max_packet_bytes: u32,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(read: R, max_packet_bytes: u32) -> Self {
        Self { read, buffer: BytesMut::with_capacity(READ_BYTES), max_packet_bytes }
    }

    /// Waits for the next packet. Given up while it waits for a packet, nothing is lost; given up
    /// in the middle of a large one, the connection is of no further use.
    pub(crate) async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            match Packet::read(&mut self.buffer, Some(self.max_packet_bytes)) {
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
    pub(crate) async fn discard(&mut self) {
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
        let publish = Publish::read(header, beginning)?;
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

    fn publish(payload: &[u8]) -> Vec<u8> {
        let mut publish = Publish::new("a/b", QoS::AtLeastOnce, payload.to_vec(), None);
        publish.pkid = 7;
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        bytes.to_vec()
    }

    #[tokio::test]
    async fn a_packet_larger_than_the_limit_is_cut_and_the_next_is_whole() {
        let wire = [publish(&vec![b'x'; 300_000]), publish(b"small")].concat();
        let mut frames = Frames::new(wire.as_slice(), 100_000);
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
