//! Alerts to devices: what happens to an alert is published on
//! `users/{user_id}/devices/{device_id}/alerts` at `QoS` 1.
//!
//! It is a subscription with a checkpoint that moves when the broker has acknowledged. After a crash
//! some are published again, with the same id and position. One process publishes at a time.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use domain::alerts::alert::Event;
use domain::alerts::{Alert, Severity, Threshold};
use eventsourcing::{Decider, Position};
use eventstore::{Checkpoint, EventStore, Feed, Filter, RawEvent, Unavailable};
use rumqttc::{Packet, PubAckReason, Publish, QoS};
use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use mqtt::Dialer;
use mqtt::Frame;
use mqtt::{Connection, Lost};
use mqtt::{Error, Options};

/// Alerts under way at most, if the broker takes as many.
const WINDOW: u16 = 256;
/// The publisher says that it lives this often, to the log and to the broker.
const PULSE: Duration = Duration::from_secs(1);
/// How long a publisher that died keeps others from taking over.
const LEASE: Duration = Duration::from_secs(5);
/// How long the broker has to acknowledge.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes what happens to alerts.
pub(crate) struct Publisher {
    pub(crate) store: EventStore,
    pub(crate) feed: Feed,
    owner: Uuid,
}

/// Why it starts again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Mqtt(#[from] Lost),
    #[error(transparent)]
    Log(#[from] Unavailable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("another publisher has taken over")]
    Fenced,
}

/// What devices and people are told.
#[derive(Debug, Serialize)]
struct News<'a> {
    /// Of the alert.
    id: &'a str,
    /// In a few words: `battery < 20`.
    rule: &'a str,
    severity: Severity,
    /// `active` or `cleared`.
    state: &'static str,
    value: Option<&'a Value>,
    threshold: Option<&'a Threshold>,
    message: &'a str,
    time: DateTime<Utc>,
    /// Of the event in the log: the same one twice is the same news.
    position: Position,
}

impl Publisher {
    /// Name of the consumer, and of the lease of the one who publishes.
    pub(crate) const NAME: &'static str = "alert_mqtt";

    pub(crate) fn new(store: EventStore, feed: Feed) -> Self {
        Self { store, feed, owner: Uuid::now_v7() }
    }

    /// Publishes until `shutdown`, whenever nobody else does.
    pub(crate) async fn run(
        &self,
        broker: Options,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let mut dialer = Dialer::new(Options {
            client_id: format!("{}-alerts", broker.client_id),
            topic_filters: Vec::new(),
            left_filters: Vec::new(),
            session_expiry: Duration::ZERO, // Nothing is kept for us: the checkpoint knows.
            ..broker
        })
        .await?;
        loop {
            let started = Instant::now();
            let ended = match shutdown.run_until_cancelled(self.publish(&dialer)).await {
                None => break,
                Some(Ok(never)) => match never {},
                Some(Err(error)) => error,
            };
            let pause = match &ended {
                Interrupted::Mqtt(lost) => dialer.wait(lost, started.elapsed()),
                error => {
                    tracing::warn!(%error, "alerts are not published for the moment");
                    PULSE
                }
            };
            shutdown.run_until_cancelled(sleep(pause)).await;
        }
        if self.store.release_lease(Self::NAME, self.owner).await.is_err() {
            tracing::debug!("the lease ends by itself");
        }
        Ok(())
    }

    async fn publish(&self, dialer: &Dialer) -> Result<Infallible, Interrupted> {
        while !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
            sleep(PULSE).await;
        }
        let mut connection = dialer.connect().await?;
        let mut position = self.store.start_consumer(Self::NAME).await?.position;
        let window = usize::from(connection.receive_maximum.min(WINDOW));
        let mut subscription =
            self.feed.subscribe(position, Filter::categories(&[Alert::CATEGORY]));
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = BytesMut::new();
        loop {
            tokio::select! {
                _ = pulse.tick() => {
                    if !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
                        return Err(Interrupted::Fenced);
                    }
                    self.store.heartbeat(Self::NAME).await?;
                    send(&mut connection, &Packet::PingReq, &mut buffer).await?;
                }
                frame = connection.frames.next() => heard(frame?)?,
                batch = subscription.next(window) => {
                    let batch = batch?;
                    let mut due = 0;
                    for publish in batch.events.iter().filter_map(|event| packet(event)) {
                        due += 1;
                        let publish = Publish { pkid: due, ..publish };
                        let packet = Packet::Publish(publish);
                        connection.version.write(&packet, &mut buffer).map_err(Lost::Protocol)?;
                    }
                    connection.write.write_all_buf(&mut buffer).await.map_err(Lost::Io)?;
                    let all = acknowledged(&mut connection, due.into());
                    timeout(PATIENCE, all).await.map_err(|_elapsed| Lost::Timeout)??;
                    let last = batch.events.last().map(|event| event.recorded_at);
                    let mut transaction = self.store.pool().begin().await?;
                    let name = Self::NAME;
                    let (from, to) = (position, batch.through);
                    if !Checkpoint::advance(&mut transaction, name, from, to, last).await? {
                        return Err(Interrupted::Fenced);
                    }
                    transaction.commit().await?;
                    position = batch.through;
                }
            }
        }
    }
}

async fn send(
    connection: &mut Connection,
    packet: &Packet,
    buffer: &mut BytesMut,
) -> Result<(), Lost> {
    connection.version.write(packet, buffer)?;
    connection.write.write_all_buf(buffer).await?;
    connection.write.flush().await?;
    Ok(())
}

/// What the broker says while nothing is under way.
fn heard(frame: Frame) -> Result<(), Lost> {
    match frame {
        Frame::Packet(Packet::PingResp) => Ok(()),
        Frame::Packet(Packet::Disconnect(goodbye)) => Err(Lost::Disconnected(goodbye.reason_code)),
        Frame::Packet(_) | Frame::Cut { .. } => {
            Err(rumqttc::mqttbytes::Error::ProtocolError.into())
        }
    }
}

/// Waits until the broker has acknowledged so many.
async fn acknowledged(connection: &mut Connection, due: usize) -> Result<(), Lost> {
    connection.write.flush().await?;
    let mut done = HashSet::new();
    while done.len() < due {
        match connection.frames.next().await? {
            Frame::Packet(Packet::PubAck(ack)) => match ack.reason {
                // Nobody listens. That is no failure: it was there to be heard.
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                    done.insert(ack.pkid);
                }
                reason => return Err(Lost::Publish { topic: "users/…/alerts".into(), reason }),
            },
            frame => heard(frame)?,
        }
    }
    Ok(())
}

/// What is published of an event, if anything is. Nobody but us wrote it, so one that cannot be
/// read was written by a newer build, which publishes it.
fn packet(raw: &RawEvent) -> Option<Publish> {
    let (notice, state) = match raw.event::<Event>().ok()? {
        Event::AlertRaised(raised) => (raised.notice, "active"),
        Event::AlertUpdated { notice, .. } => (notice, "active"),
        Event::AlertCleared { notice, .. } => (notice, "cleared"),
        Event::AlertAcknowledged { .. } => return None,
    };
    let news = News {
        id: raw.stream.key(),
        rule: &notice.rule,
        severity: notice.severity,
        state,
        value: notice.value.as_ref(),
        threshold: notice.threshold.as_ref(),
        message: &notice.message,
        time: notice.time,
        position: raw.position,
    };
    let topic = format!("users/{}/devices/{}/alerts", notice.user_id, notice.device_id);
    let payload = serde_json::to_vec(&news).ok()?;
    Some(Publish::new(topic, QoS::AtLeastOnce, payload, None))
}

#[cfg(test)]
mod tests {
    use eventsourcing::{StreamId, Version};

    use super::*;

    fn published(event_type: &str, golden: &str) -> String {
        let raw = RawEvent {
            position: Position(45),
            id: Uuid::nil(),
            stream: StreamId::new("alert", Uuid::from_u128(7)),
            version: Version(1),
            event_type: event_type.into(),
            schema_version: 1,
            data: golden.trim().into(),
            metadata: "{}".into(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        let publish = packet(&raw).unwrap();
        let payload = std::str::from_utf8(&publish.payload).unwrap();
        format!("{} {payload}", std::str::from_utf8(&publish.topic).unwrap())
    }

    #[test]
    fn published_alerts_never_change_their_form() {
        assert_eq!(Publisher::NAME, "alert_mqtt");
        macro_rules! golden {
            ($file:literal) => {
                include_str!(concat!("../../../domain/golden/alerts/", $file, ".json"))
            };
        }
        let alert =
            r#"users/user_123/devices/pump-1/alerts {"id":"00000000-0000-0000-0000-000000000007""#;
        let low = r#""rule":"battery < 20","severity":"warning""#;
        let rpm =
            r#""rule":"/engine/rpm is_missing","severity":"info","state":"active","value":null"#;
        let words = r#""threshold":20.0,"message":"Critical Battery Level!""#;
        for (event_type, golden, pinned) in [
            (
                "alert_raised",
                golden!("alert_raised.v1"),
                format!(
                    r#"{low},"state":"active","value":19.0,{words},"time":"2023-11-14T22:13:20Z""#
                ),
            ),
            (
                "alert_updated",
                golden!("alert_updated.v1.no_value"),
                format!(
                    r#"{rpm},"threshold":null,"message":"/engine/rpm is_missing","time":"2023-11-14T22:14:20Z""#
                ),
            ),
            (
                "alert_cleared",
                golden!("alert_cleared.v1"),
                format!(
                    r#"{low},"state":"cleared","value":21.0,{words},"time":"2023-11-14T22:15:20Z""#
                ),
            ),
        ] {
            let pinned = format!(r#"{alert},{pinned},"position":45}}"#);
            assert_eq!(published(event_type, golden), pinned);
        }
    }
}
