//! Readings of the devices over MQTT, with an alarm of one device after the other. One device is out of
//! reach from time to time.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use mqtt::{Client, ConnectionError, Dialer, Options};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::sensors::{self, ALARMS, DEVICES, Excursion};
use super::{ALARM_EVERY, Demo, Pace, Speed};

/// Time between two readings of a device.
const READING_EVERY: Duration = Duration::from_secs(2);
/// Time from the start to the first alarm.
const FIRST_ALARM: Duration = Duration::from_secs(5);
/// Duration of an alarm.
const ALARM_TIME: Duration = Duration::from_secs(30);
/// Number of alarms of all devices. They take turns, so that each is rarer than 5 times an hour: a rule
/// raises no more alerts.
const TURNS: usize = DEVICES.len() * ALARMS;
/// Turn in which the last device is out of reach.
const ABSENT_TURN: usize = 8;
/// The last device.
const ABSENT: usize = DEVICES.len() - 1;
/// Most bytes held of a received packet; the demo subscribes to nothing.
const MAX_PACKET_BYTES: u32 = 1024;

type Message = (Bytes, Bytes);

/// Publishes until `shutdown`.
pub(super) async fn run(demo: &Demo, shutdown: &CancellationToken) {
    let options = Options {
        session_expiry: Duration::ZERO,
        max_packet_bytes: MAX_PACKET_BYTES,
        ..demo.broker.clone()
    };
    let mut dialer = match Dialer::new(options).await {
        Ok(dialer) => dialer,
        Err(error) => {
            tracing::error!(%error, "the demo has no devices");
            return;
        }
    };
    let mut fleet = Fleet::new(demo.speed);
    let mut pace = demo.pace("devices", READING_EVERY);
    while !shutdown.is_cancelled() {
        let started = Instant::now();
        if let Err(error) = connection(&dialer, &mut fleet, &mut pace, shutdown).await {
            let delay = dialer.wait(&error, started.elapsed());
            shutdown.run_until_cancelled(sleep(delay)).await;
        }
    }
}

/// Connects, publishes and, at the shutdown, disconnects. Readings that the broker has not acknowledged
/// when the connection is lost are not sent again.
async fn connection(
    dialer: &Dialer,
    fleet: &mut Fleet,
    pace: &mut Pace,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError> {
    let Some(client) = shutdown.run_until_cancelled(dialer.connect()).await else {
        return Ok(());
    };
    let mut client = client?;
    match shutdown.run_until_cancelled(publish(&mut client, fleet, pace)).await {
        Some(Err(error)) => Err(error),
        None => client.disconnect().await,
    }
}

async fn publish(
    client: &mut Client<Bytes>,
    fleet: &mut Fleet,
    pace: &mut Pace,
) -> Result<Infallible, ConnectionError> {
    client.publish_all(fleet.births()).await?;
    loop {
        tokio::select! {
            () = pace.next() => client.publish_all(fleet.readings()).await?,
            event = client.next() => drop(event?),
        }
    }
}

/// The devices, with what their messages depend on.
struct Fleet {
    /// The same in all messages of this run: counters start again with each.
    boot_id: String,
    sequence_id: i64,
    session_seq: i64,
    started: Instant,
    first_turn: usize,
    speed: Speed,
    /// Whether the device at [`ABSENT`] is out of reach.
    absent: bool,
}

/// A turn, and how far its alarm is; `None` before and after it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Turn {
    number: usize,
    progress: Option<f64>,
}

impl Fleet {
    fn new(speed: Speed) -> Self {
        // After a restart, another device has the next alarm.
        let turns = Utc::now().timestamp().unsigned_abs() / ALARM_EVERY.as_secs();
        Self {
            boot_id: Uuid::now_v7().to_string(),
            sequence_id: 0,
            session_seq: 0,
            started: Instant::now(),
            first_turn: usize::try_from(turns % TURNS as u64).unwrap_or_default(),
            speed,
            absent: false,
        }
    }

    /// Returns the turn after `elapsed`.
    fn turn(&self, elapsed: Duration) -> Turn {
        let since_first = elapsed.checked_sub(self.speed.of(FIRST_ALARM));
        let (every, lasts) = (self.speed.of(ALARM_EVERY), self.speed.of(ALARM_TIME));
        let since = since_first.unwrap_or_default().as_millis();
        let turns = usize::try_from(since / every.as_millis()).unwrap_or_default();
        let part =
            Duration::from_millis(u64::try_from(since % every.as_millis()).unwrap_or_default());
        let progress = part.div_duration_f64(lasts);
        Turn {
            number: (self.first_turn + turns) % TURNS,
            progress: (since_first.is_some() && progress <= 1.0).then_some(progress),
        }
    }

    /// Returns the births of all devices, after a connection was made.
    fn births(&mut self) -> Vec<Message> {
        self.session_seq += 1;
        self.absent = false;
        (0..DEVICES.len()).map(|index| self.status(index, true)).collect()
    }

    /// Returns one reading of each device that is in reach, and the birth or will of one that comes or
    /// goes.
    fn readings(&mut self) -> Vec<Message> {
        let turn = self.turn(self.started.elapsed());
        let mut messages = Vec::with_capacity(DEVICES.len() + 1);
        let absent = turn.number == ABSENT_TURN;
        if absent != self.absent {
            self.absent = absent;
            self.session_seq += i64::from(!absent);
            messages.push(self.status(ABSENT, !absent));
        }
        self.sequence_id += 1;
        let present = (0..DEVICES.len()).filter(|index| !absent || *index != ABSENT);
        messages.extend(present.map(|index| self.reading(index, turn)));
        messages
    }

    fn reading(&self, index: usize, turn: Turn) -> Message {
        let own = turn.progress.filter(|_| turn.number % DEVICES.len() == index);
        let alarm = turn.number / DEVICES.len();
        let now = Utc::now();
        let mut reading =
            sensors::measured(index, now, own.map(|progress| Excursion { alarm, progress }));
        reading.extend([
            ("sequence_id".to_owned(), json!(self.sequence_id)),
            ("boot_id".to_owned(), json!(self.boot_id)),
            ("time".to_owned(), json!(now)),
        ]);
        message(index, "telemetry", &Value::Object(reading))
    }

    /// The birth of a device, or its will.
    fn status(&self, index: usize, online: bool) -> Message {
        let Self { session_seq, boot_id, .. } = self;
        let status = json!({"online": online, "session_seq": session_seq, "boot_id": boot_id});
        message(index, "status", &status)
    }
}

fn message(index: usize, kind: &str, payload: &Value) -> Message {
    let sensors::Device { user_id, id: device_id, .. } = &DEVICES[index];
    (format!("users/{user_id}/devices/{device_id}/{kind}").into(), payload.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_take_turns() {
        let fleet = Fleet { first_turn: 10, ..Fleet::new(Speed(2.0)) };
        let turn = |milliseconds| fleet.turn(Duration::from_millis(milliseconds));
        let at = |number, progress| Turn { number, progress };
        assert_eq!(turn(2_000), at(10, None), "before the first");
        assert_eq!(turn(2_500), at(10, Some(0.0)));
        assert_eq!(turn(10_000), at(10, Some(0.5)));
        assert_eq!(turn(18_000), at(10, None));
        assert_eq!(turn(2_500 + 37_500), at(11, Some(0.0)));
        assert_eq!(turn(2_500 + 2 * 37_500), at(0, Some(0.0)), "all over again");
    }

    #[test]
    fn each_rule_raises_at_most_five_alerts_an_hour() {
        let hour = Duration::from_hours(1).as_secs();
        // One more in the hour of the first start: the history has an alarm of each device.
        let most = hour.div_ceil(ALARM_EVERY.as_secs() * TURNS as u64) + 1;
        assert!(most <= 5, "{most}");
    }

    #[test]
    fn one_device_leaves_and_returns() {
        let mut fleet = Fleet { first_turn: ABSENT_TURN, ..Fleet::new(Speed(100.0)) };
        assert_eq!(fleet.births().len(), DEVICES.len());
        let texts = |messages: Vec<Message>| -> Vec<String> {
            let text = |(_, payload): Message| String::from_utf8(payload.to_vec()).unwrap();
            messages.into_iter().map(text).collect()
        };
        let left = texts(fleet.readings());
        assert_eq!(left.len(), DEVICES.len(), "a will in place of its reading");
        assert!(left[0].contains(r#""online":false"#) && left[0].contains(r#""session_seq":1"#));
        assert_eq!(fleet.readings().len(), DEVICES.len() - 1);
        fleet.first_turn = 0;
        let returned = texts(fleet.readings());
        assert_eq!(returned.len(), DEVICES.len() + 1);
        assert!(
            returned[0].contains(r#""online":true"#) && returned[0].contains(r#""session_seq":2"#)
        );
    }
}
