//! Publishes readings with `QoS` 1 from many connections, and says how fast the broker took them.
//!
//! Open loop: with `--rate` a message is due at its time whether or not the ones before it were
//! acknowledged, and its latency counts from then. `--subscribe` adds a plain subscriber that
//! acknowledges at once: the broker's own rate, to compare with a bridge's in the same run.
//! The packets are rumqttc's; its client is not used, so that the generator costs little.
#![expect(clippy::print_stdout, reason = "the figures are the program's result")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and rates are small"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use clap::Parser;
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use rumqttc::{
    Connect, ConnectProperties, ConnectReturnCode, Packet, PubAck, Publish, QoS, Subscribe,
    SubscribeFilter,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Messages written at once.
const BURST: u64 = 128;
/// How often a paced connection looks whether messages are due.
const TICK: Duration = Duration::from_millis(2);
/// How long the last acknowledgements may take.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Parser)]
struct Arguments {
    /// The broker, `host:port`.
    #[arg(long, default_value = "127.0.0.1:1883")]
    broker: String,
    #[arg(long, default_value_t = 9)]
    connections: u64,
    #[arg(long, default_value_t = 30)]
    users: u64,
    #[arg(long, default_value_t = 3)]
    devices_per_user: u64,
    /// Messages in all.
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// Messages a second in all; 0 is as fast as the broker takes them.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Messages a connection may have unacknowledged; the broker may allow fewer.
    #[arg(long, default_value_t = 1000)]
    window: u16,
    /// Also receive everything, and acknowledge it at once.
    #[arg(long)]
    subscribe: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let subscriber = if arguments.subscribe {
        let receiving = subscriber(arguments.broker.clone(), arguments.messages).await?;
        Some(tracker().spawn(receiving))
    } else {
        None
    };
    let start = Instant::now();
    let publishers = (0..arguments.connections)
        .map(|index| tracker().spawn(publisher(Arc::clone(&arguments), index, start)));
    let mut latency = Histogram::<u64>::new(3)?;
    for connection in try_join_all(publishers).await? {
        latency.add(connection?)?;
    }
    let acked = latency.len();
    let took = start.elapsed().as_secs_f64();
    let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "sent {} acked {acked} in {took:.2} s: {:.0}/s; PUBACK p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        arguments.messages,
        acked as f64 / took,
        millis(0.5),
        millis(0.99),
        millis(0.999),
    );
    if let Some(subscriber) = subscriber {
        let delivered = subscriber.await??;
        let took = start.elapsed().as_secs_f64();
        println!(
            "subscriber: {delivered} delivered in {took:.2} s: {:.0}/s",
            delivered as f64 / took
        );
    }
    Ok(())
}

fn tracker() -> tokio_util::task::TaskTracker {
    tokio_util::task::TaskTracker::new()
}

struct Connection {
    read: OwnedReadHalf,
    unread: BytesMut,
    write: OwnedWriteHalf,
    /// What the broker may be sent before it has acknowledged.
    window: u16,
}

impl Connection {
    async fn open(broker: &str, client_id: String) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(broker).await.context("the broker is not there")?;
        socket.set_nodelay(true)?;
        let (read, write) = socket.into_split();
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = Some(u16::MAX);
        let connect =
            Connect { keep_alive: 0, client_id, clean_start: true, properties: Some(properties) };
        let mut connection = Self { read, unread: BytesMut::new(), write, window: 0 };
        let hello = Packet::Connect(connect, None, rumqttc::ConnectAuth::None);
        connection.send(&hello).await?;
        let Packet::ConnAck(connack) = connection.next().await? else {
            bail!("no CONNACK");
        };
        if connack.code != ConnectReturnCode::Success {
            bail!("refused: {:?}", connack.code);
        }
        let allowed = connack.properties.and_then(|properties| properties.receive_max);
        connection.window = allowed.unwrap_or(u16::MAX);
        Ok(connection)
    }

    async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut buffer = BytesMut::new();
        packet.write(&mut buffer, None)?;
        Ok(self.write.write_all(&buffer).await?)
    }

    async fn next(&mut self) -> anyhow::Result<Packet> {
        next(&mut self.read, &mut self.unread).await
    }
}

async fn next(read: &mut OwnedReadHalf, unread: &mut BytesMut) -> anyhow::Result<Packet> {
    loop {
        match Packet::read(unread, None) {
            Ok(packet) => return Ok(packet),
            Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(error.into()),
        }
        unread.reserve(64 * 1024);
        if read.read_buf(unread).await? == 0 {
            bail!("the broker closed the connection");
        }
    }
}

/// One connection's share of the messages, each device on one connection. Returns the latencies
/// of what was acknowledged, in microseconds.
async fn publisher(
    arguments: Arc<Arguments>,
    index: u64,
    start: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let connections = arguments.connections;
    let client_id = format!("load-{}-{index}", std::process::id());
    let connection = Connection::open(&arguments.broker, client_id).await?;
    let share = |total: u64| total / connections + u64::from(index < total % connections);
    let messages = share(arguments.messages);
    let window = connection.window.min(arguments.window);
    let slots = Arc::new(Semaphore::new(usize::from(window)));
    // When each unacknowledged message was due, by packet id, in microseconds after the start.
    let due: Arc<[AtomicU64]> = (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect();
    let reader = tracker().spawn(acknowledged(
        (connection.read, connection.unread),
        messages,
        start,
        (Arc::clone(&slots), Arc::clone(&due)),
    ));
    let mut write = connection.write;
    let devices = arguments.users * arguments.devices_per_user;
    let topics: Vec<Bytes> = (index..devices.max(connections))
        .step_by(usize::try_from(connections)?)
        .map(|device| {
            let (user, device) = (device % arguments.users, device / arguments.users);
            format!("users/user-{user}/devices/device-{device}/telemetry").into()
        })
        .collect();
    let rate = arguments.rate as f64 / connections as f64;
    let boot = uuid::Uuid::now_v7();
    let mut buffer = BytesMut::new();
    let mut sent = 0;
    while sent < messages {
        let elapsed = start.elapsed();
        let ready = match arguments.rate {
            0 => messages,
            _ => messages.min((elapsed.as_secs_f64() * rate) as u64),
        } - sent;
        if ready == 0 {
            sleep(TICK).await;
            continue;
        }
        slots.acquire().await?.forget();
        let more = ready.min(BURST) - 1;
        let more = (0..more).take_while(|_| match slots.try_acquire() {
            Ok(slot) => {
                slot.forget();
                true
            }
            Err(_) => false,
        });
        let burst = 1 + more.count() as u64;
        for _ in 0..burst {
            let packet_id = u16::try_from(sent % 65_535 + 1)?;
            let due_at = match arguments.rate {
                0 => u64::try_from(start.elapsed().as_micros())?,
                _ => (sent as f64 / rate * 1e6) as u64,
            };
            due[usize::from(packet_id)].store(due_at, Ordering::Relaxed);
            let device = usize::try_from(sent)? % topics.len();
            Publish {
                qos: QoS::AtLeastOnce,
                topic: topics[device].clone(),
                pkid: packet_id,
                payload: reading(sent, boot).into(),
                ..Publish::default()
            }
            .write(&mut buffer)?;
            sent += 1;
        }
        write.write_all_buf(&mut buffer).await?;
    }
    let latency = timeout(PATIENCE, reader).await.context("acknowledgements are missing")???;
    Ok(latency)
}

fn reading(sequence: u64, boot: uuid::Uuid) -> String {
    let now = chrono::Utc::now().timestamp_millis();
    let temperature = 15.0 + (sequence % 200) as f64 / 10.0;
    format!(
        r#"{{"sequence_id":{sequence},"boot_id":"{boot}","time":{now},"temperature":{temperature},"battery":{},"humidity":45.5,"firmware":"1.4.2"}}"#,
        100 - sequence % 100
    )
}

async fn acknowledged(
    (mut read, mut unread): (OwnedReadHalf, BytesMut),
    messages: u64,
    start: Instant,
    (slots, due): (Arc<Semaphore>, Arc<[AtomicU64]>),
) -> anyhow::Result<Histogram<u64>> {
    let mut latency = Histogram::<u64>::new(3)?;
    while latency.len() < messages {
        let Packet::PubAck(ack) = next(&mut read, &mut unread).await? else {
            bail!("something else than PUBACK");
        };
        let due = due[usize::from(ack.pkid)].load(Ordering::Relaxed);
        let now = u64::try_from(start.elapsed().as_micros())?;
        latency.record(now.saturating_sub(due).max(1))?;
        slots.add_permits(1);
    }
    Ok(latency)
}

/// A subscriber that is ready; the future ends when it has received so many messages.
async fn subscriber(
    broker: String,
    messages: u64,
) -> anyhow::Result<impl Future<Output = anyhow::Result<u64>>> {
    let client_id = format!("load-{}-subscriber", std::process::id());
    let mut connection = Connection::open(&broker, client_id).await?;
    let filter = SubscribeFilter::new("users/+/devices/+/telemetry", QoS::AtLeastOnce);
    let mut subscribe = Subscribe::new(filter, None);
    subscribe.pkid = 1;
    connection.send(&Packet::Subscribe(subscribe)).await?;
    let Packet::SubAck(_) = connection.next().await? else {
        bail!("no SUBACK");
    };
    Ok(async move {
        let mut acks = BytesMut::new();
        let mut delivered = 0;
        while delivered < messages {
            let Packet::Publish(publish) = connection.next().await? else {
                bail!("something else than PUBLISH");
            };
            delivered += 1;
            PubAck::new(publish.pkid, None).write(&mut acks)?;
            // All that was read at once is acknowledged at once.
            if acks.len() >= 4 * 128 || connection.unread.is_empty() {
                connection.write.write_all_buf(&mut acks).await?;
            }
        }
        connection.write.write_all_buf(&mut acks).await?;
        Ok(delivered)
    })
}
