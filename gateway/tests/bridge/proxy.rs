//! A TCP proxy between bridge and broker that records packets and can close all connections.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rumqttc::{DisconnectReasonCode, Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A recorded packet. Packets of one direction are in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// From the broker, with its packet id.
    Publish(u16),
    /// From the bridge.
    PubAck(u16),
    Disconnect(DisconnectReasonCode),
}

pub struct Proxy {
    pub port: u16,
    /// Packets with the number of their connection, from 1.
    seen: watch::Receiver<Vec<(usize, Seen)>>,
    line: Arc<Mutex<CancellationToken>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (record, seen) = watch::channel(Vec::new());
        let line = Arc::new(Mutex::new(CancellationToken::new()));
        let tasks = TaskTracker::new();
        let accepting = tasks.clone().spawn({
            let line = Arc::clone(&line);
            async move {
                for connection in 1.. {
                    let (bridge, _) = listener.accept().await.unwrap();
                    // While the broker is stopped, connections are closed at once.
                    let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)).await else {
                        continue;
                    };
                    let (from_bridge, to_bridge) = bridge.into_split();
                    let (from_broker, to_broker) = broker.into_split();
                    let cut = line.lock().unwrap().clone();
                    let record = record.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = cut.cancelled() => {}
                            () = forward(from_bridge, to_broker, connection, &record) => {}
                            () = forward(from_broker, to_bridge, connection, &record) => {}
                        }
                    });
                }
            }
        });
        Self { port, seen, line, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Closes every open connection. New connections are accepted.
    pub fn cut(&self) {
        let mut line = self.line.lock().unwrap();
        std::mem::take(&mut *line).cancel();
    }

    /// Returns the packets recorded on one connection.
    pub fn seen(&self, connection: usize) -> Vec<Seen> {
        let seen = self.seen.borrow();
        let here = seen.iter().filter(|(number, _)| *number == connection);
        here.map(|(_, seen)| *seen).collect()
    }

    /// Packet ids acknowledged on one connection so far, in order.
    pub fn acknowledged(&self, connection: usize) -> Vec<u16> {
        ids(&self.seen(connection), |seen| match seen {
            Seen::PubAck(id) => Some(id),
            _ => None,
        })
    }

    /// Packet ids sent by the broker on one connection so far, in order.
    pub fn published(&self, connection: usize) -> Vec<u16> {
        ids(&self.seen(connection), |seen| match seen {
            Seen::Publish(id) => Some(id),
            _ => None,
        })
    }

    /// Waits until the recorded packets meet `condition`.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changes = self.seen.clone();
        changes.mark_changed();
        while !condition(self) {
            changes.changed().await.unwrap();
        }
    }
}

fn ids(seen: &[Seen], id: impl Fn(Seen) -> Option<u16>) -> Vec<u16> {
    seen.iter().filter_map(|&seen| id(seen)).collect()
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: usize,
    record: &watch::Sender<Vec<(usize, Seen)>>,
) {
    let mut unread = BytesMut::new();
    let mut chunk = BytesMut::with_capacity(64 * 1024);
    while let Ok(1..) = from.read_buf(&mut chunk).await {
        unread.extend_from_slice(&chunk);
        while let Ok(packet) = Packet::read(&mut unread, None) {
            let seen = match packet {
                Packet::Publish(publish) if publish.pkid > 0 => Seen::Publish(publish.pkid),
                Packet::PubAck(ack) => Seen::PubAck(ack.pkid),
                Packet::Disconnect(goodbye) => Seen::Disconnect(goodbye.reason_code),
                _ => continue,
            };
            record.send_modify(|all| all.push((connection, seen)));
        }
        if to.write_all_buf(&mut chunk).await.is_err() {
            return;
        }
    }
}
