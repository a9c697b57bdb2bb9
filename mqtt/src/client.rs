//! The client: one connection, driven by its owner.

use bytes::Bytes;
use rumqttc::{Packet, PubAckReason, Publish, QoS};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{BoxedSocket, Connection};
use super::error::ConnectionError;
use super::frames::Frames;
use super::message::Event;
use super::options::Options;
use super::reader::{LINGER, Reader};
use super::version::Version;
use super::window::Window;
use super::writer::{Driven, Writer};

/// The highest packet ids are those of SUBSCRIBE and UNSUBSCRIBE.
const MAX_WINDOW: u16 = u16::MAX - 2;

/// An MQTT connection. `T` is the tag that the caller gives a published message, to recognise its
/// acknowledgement.
///
/// There is no background task: reading, writing and keep-alive happen while [`Client::next`] is
/// awaited, so the owner awaits it all the time, usually in a `select!`. Packet ids and
/// acknowledgements end with the connection; the next one is another client.
#[derive(Debug)]
pub struct Client<T> {
    reader: Reader,
    writer: Writer,
    window: Window<T>,
}

impl<T> Client<T> {
    /// A client on `socket`, on which the broker has accepted a connection already.
    /// [`Dialer::connect`](super::Dialer::connect) is the usual way to get one.
    pub fn established(socket: BoxedSocket, version: Version, options: &Options) -> Self {
        let (read, write) = tokio::io::split(socket);
        let frames = Frames::new(read, version, options.max_packet_bytes);
        let keep_alive = options.keep_alive;
        let receive_maximum = u16::MAX;
        Self::new(Connection { frames, write, version, keep_alive, receive_maximum }, options)
    }

    pub(crate) fn new(connection: Connection, options: &Options) -> Self {
        let Connection { frames, write, version, keep_alive, receive_maximum } = connection;
        let limit = options.unacknowledged_limit.unwrap_or(options.receive_maximum);
        let (ack, acks) = mpsc::channel(usize::from(limit));
        let filters = options.topic_filters.as_slice().into();
        Self {
            reader: Reader::new(frames, filters, ack, keep_alive),
            writer: Writer::new(write, version, acks, keep_alive),
            window: Window::new(options.publish_window.min(receive_maximum).min(MAX_WINDOW)),
        }
    }

    /// How many messages may be published now: none while the write buffer is full or the broker
    /// has to acknowledge as many as the window holds. It grows with [`Event::Acknowledged`] and
    /// [`Event::Writable`].
    pub fn room(&self) -> usize {
        if self.writer.is_full() { 0 } else { self.window.room() }
    }

    /// Encodes a message at `QoS` 1. It is sent while [`Client::next`] is awaited; the broker's
    /// answer is an [`Event::Acknowledged`] with `tag`. Fails without room in the window.
    pub fn publish(
        &mut self,
        topic: impl Into<Bytes>,
        payload: impl Into<Bytes>,
        tag: T,
    ) -> Result<(), ConnectionError> {
        let pkid = self.window.insert(tag).ok_or(ConnectionError::WindowFull)?;
        let (topic, payload, qos) = (topic.into(), payload.into(), QoS::AtLeastOnce);
        // Never marked as a duplicate: that refers to a packet of the same session.
        let publish = Publish { topic, payload, qos, pkid, ..Publish::default() };
        self.writer.encode(&Packet::Publish(publish))
    }

    /// Encodes a message at `QoS` 0, which the broker does not answer. The caller bounds their number
    /// by [`Client::room`].
    pub fn publish_unacknowledged(
        &mut self,
        topic: impl Into<Bytes>,
        payload: impl Into<Bytes>,
    ) -> Result<(), ConnectionError> {
        let (topic, payload) = (topic.into(), payload.into());
        self.writer.encode(&Packet::Publish(Publish { topic, payload, ..Publish::default() }))
    }

    /// Drives the connection until the next event. Cancel safe. Reading and writing do not wait for
    /// each other: a broker that stops reading is still read from.
    pub async fn next(&mut self) -> Result<Event<T>, ConnectionError> {
        tokio::select! {
            biased;
            driven = self.writer.drive() => match driven? {
                Driven::Writable => Ok(Event::Writable),
                // Not while the reader holds its end of the queue.
                Driven::Finished => Err(ConnectionError::Closed),
            },
            event = self.reader.next() => tagged(&mut self.window, event?),
        }
    }

    /// The next event, if its packet has been read from the socket already. For handling a batch of
    /// events at once.
    pub fn try_next(&mut self) -> Result<Option<Event<T>>, ConnectionError> {
        self.reader.try_next()?.map(|event| tagged(&mut self.window, event)).transpose()
    }

    /// Sends what is encoded, and DISCONNECT, and waits until the broker has closed the connection.
    /// All of it takes 4 s at most.
    pub async fn disconnect(self) -> Result<(), ConnectionError> {
        let Self { reader, mut writer, .. } = self;
        let closing = reader.stop();
        timeout(LINGER, writer.disconnect()).await.unwrap_or(Err(ConnectionError::Timeout))?;
        closing.wait().await;
        Ok(())
    }

    /// The tags of messages that were published and not acknowledged, after the connection was lost.
    pub fn into_unacknowledged(self) -> Vec<T> {
        self.window.into_tags()
    }

    /// The two halves, for two tasks. Reading and writing then never wait for each other, nor for
    /// what the caller does with a message. Nothing can be published any more.
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl Client<Bytes> {
    /// Publishes a batch of topics and payloads at `QoS` 1, in order, and returns once the broker has
    /// acknowledged all of it. The window bounds how many are under way at a time; the caller sets a
    /// time-out. Success includes a message that has no subscriber.
    ///
    /// For clients that only publish: a received message is a protocol error. Between two batches,
    /// await [`Client::next`] or the broker ends the connection after 1.5 times the keep-alive.
    pub async fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = (Bytes, Bytes)>,
    ) -> Result<(), ConnectionError> {
        let (mut messages, mut unacknowledged) = (messages.into_iter().peekable(), 0_usize);
        loop {
            while self.room() > 0
                && let Some((topic, payload)) = messages.next()
            {
                self.publish(topic.clone(), payload, topic)?;
                unacknowledged += 1;
            }
            if unacknowledged == 0 && messages.peek().is_none() {
                return Ok(());
            }
            match self.next().await? {
                Event::Acknowledged { tag, reason } => match reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                        unacknowledged -= 1;
                    }
                    reason => {
                        let topic = String::from_utf8_lossy(&tag).into_owned();
                        return Err(ConnectionError::Publish { topic, reason });
                    }
                },
                Event::Writable => {}
                Event::Message(_) | Event::Subscribed(_) => {
                    return Err(ConnectionError::unexpected_packet());
                }
            }
        }
    }
}

fn tagged<T>(window: &mut Window<T>, event: Event<u16>) -> Result<Event<T>, ConnectionError> {
    Ok(match event {
        Event::Acknowledged { tag: packet_id, reason } => {
            let tag = window.remove(packet_id).ok_or_else(ConnectionError::unexpected_packet)?;
            Event::Acknowledged { tag, reason }
        }
        Event::Subscribed(subscribed) => Event::Subscribed(subscribed),
        Event::Message(message) => Event::Message(message),
        Event::Writable => Event::Writable,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use rumqttc::PubAck;
    use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

    use super::super::frames::Frame;
    use super::*;

    /// The broker's end of a connection.
    struct Broker {
        frames: Frames<ReadHalf<DuplexStream>>,
        write: WriteHalf<DuplexStream>,
    }

    impl Broker {
        /// The next packet but pings; `None` at the end of the connection.
        async fn receive(&mut self) -> Option<Packet> {
            loop {
                match self.frames.decode().unwrap() {
                    Some(Frame::Packet(Packet::PingReq)) => {}
                    Some(Frame::Packet(packet)) => return Some(packet),
                    Some(Frame::Truncated { .. }) => panic!("nothing is that large"),
                    None => self.frames.fill().await.ok()?,
                }
            }
        }

        async fn send(&mut self, packet: Packet) {
            let mut buffer = BytesMut::new();
            packet.write(&mut buffer, None).unwrap();
            self.write.write_all(&buffer).await.unwrap();
        }
    }

    fn connected<T>(change: impl FnOnce(&mut Options)) -> (Client<T>, Broker) {
        let mut options = Options::new("mqtt://broker", "client");
        change(&mut options);
        let (ours, theirs) = duplex(1 << 20);
        let (read, write) = split(theirs);
        let broker = Broker { frames: Frames::new(read, Version::V5, u32::MAX), write };
        (Client::established(Box::new(ours), Version::V5, &options), broker)
    }

    #[tokio::test]
    async fn a_batch_is_published_in_order_within_the_window() {
        let (mut client, mut broker) = connected(|options| options.publish_window = 2);
        let messages = (0..10_u8).map(|n| (Bytes::from_static(b"a/b"), Bytes::from(vec![n])));
        let answering = async {
            let mut received = Vec::new();
            while received.len() < 10 {
                let Some(Packet::Publish(publish)) = broker.receive().await else { panic!() };
                assert!(publish.pkid <= 2, "more than the window allows");
                received.push(publish.payload[0]);
                broker.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await;
            }
            received
        };
        let (published, received) = tokio::join!(client.publish_all(messages), answering);
        published.unwrap();
        assert_eq!(received, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn unacknowledged_messages_are_known_after_the_connection_is_lost() {
        let (mut client, mut broker) = connected(|options| options.publish_window = 2);
        client.publish("a/b", "1", 'a').unwrap();
        client.publish("a/b", "2", 'b').unwrap();
        let full = client.publish("a/b", "3", 'c');
        assert!(matches!(full, Err(ConnectionError::WindowFull)));
        broker.send(Packet::PubAck(PubAck::new(1, None))).await;
        let event = client.next().await.unwrap();
        assert!(matches!(event, Event::Acknowledged { tag: 'a', .. }), "{event:?}");
        drop(broker);
        client.next().await.unwrap_err();
        assert_eq!(client.into_unacknowledged(), ['b']);
    }

    #[tokio::test]
    async fn acknowledgements_are_sent_in_order_before_disconnect() {
        let (mut client, mut broker) = connected::<()>(|options| options.receive_maximum = 2);
        for pkid in 1..=3 {
            let mut publish = Publish::new("a/b", QoS::AtLeastOnce, "x", None);
            publish.pkid = pkid;
            broker.send(Packet::Publish(publish)).await;
        }
        let mut acks = Vec::new();
        for _ in 0..2 {
            let Event::Message(message) = client.next().await.unwrap() else { panic!() };
            acks.extend(message.ack);
        }
        // The third exceeds the Receive Maximum, and is held back until one is acknowledged.
        assert!(timeout(Duration::from_millis(50), client.next()).await.is_err());
        acks.remove(0).send();
        let Event::Message(third) = client.next().await.unwrap() else { panic!() };
        acks.extend(third.ack);
        acks.into_iter().for_each(crate::Ack::send);
        let closing = async {
            let mut sent = Vec::new();
            while let Some(packet) = broker.receive().await {
                sent.push(match packet {
                    Packet::PubAck(ack) => ack.pkid,
                    Packet::Disconnect(_) => 0,
                    other => panic!("{other:?}"),
                });
            }
            drop(broker);
            sent
        };
        let (disconnected, sent) = tokio::join!(client.disconnect(), closing);
        disconnected.unwrap();
        assert_eq!(sent, [1, 2, 3, 0]);
    }

    #[tokio::test]
    async fn a_silent_broker_is_a_timeout() {
        let keep_alive = Duration::from_millis(100);
        let (mut client, _broker) = connected::<()>(|options| options.keep_alive = keep_alive);
        assert!(matches!(client.next().await, Err(ConnectionError::Timeout)));
    }
}
