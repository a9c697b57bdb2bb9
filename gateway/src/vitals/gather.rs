//! The task that gathers vitals: once a second while a console is open, and the lag alone every ten
//! seconds otherwise.
//!
//! A second of vitals costs three queries of Postgres (head, checkpoints, and every ten seconds the
//! refused messages), two requests to NATS, and the count of the second's events in the feed's ring
//! buffer; it does not depend on the number of consoles.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveTime, Utc};
use domain::CONTEXTS;
use eventsourcing::Position;
use eventstore::{Latency, Relay, StreamState, Unavailable};
use projections::Status;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::consumers::Consumers;
use super::door::Door;
use super::history::{INTERVAL, LagSample};
use super::monitor::Monitor;
use super::sample::{
    BridgeVitals, Connection, ContextRate, DoorDetail, DoorVitals, Percentiles, Rejected,
    RelayVitals, Vitals, round,
};
use super::traffic::{Rates, Traffic};
use crate::bridge::{Snapshot, State};
use crate::parts::Parts;

/// Interval between two vitals.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for Postgres, and for NATS: then the vitals are sent without what it knows.
const TIMEOUT: Duration = Duration::from_millis(800);
/// Most refused messages that are counted.
const MOST_REJECTED: i64 = 100_000;

/// What Postgres knows.
struct Lag {
    head: Position,
    recorded_at: Option<DateTime<Utc>>,
    statuses: Vec<Status>,
}

pub(super) struct Gatherer {
    parts: Parts,
    monitor: Monitor,
    visible: Latency,
    traffic: Traffic,
    consumers: Consumers,
    /// The last head that was read.
    head: (Position, Option<DateTime<Utc>>),
    /// When the last sample of the history was taken, and the head then.
    sampled: Option<(Instant, Position)>,
    /// When the refused messages were counted, and their number.
    rejected: Option<(Instant, Option<i64>)>,
}

impl Gatherer {
    pub(super) fn new(parts: Parts, monitor: Monitor, visible: Latency) -> Self {
        Self {
            traffic: Traffic::new(parts.feed.clone()),
            parts,
            monitor,
            visible,
            consumers: Consumers::default(),
            head: (Position::START, None),
            sampled: None,
            rejected: None,
        }
    }

    /// Gathers until it is cancelled.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let monitor = self.monitor.clone();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = monitor.opened() => ticks.reset(),
            }
            let is_watched = self.monitor.is_watched();
            let is_due = self.sampled.is_none_or(|(at, _)| at.elapsed() >= INTERVAL);
            if is_watched {
                self.gather(is_due).await;
            } else if is_due {
                let lag = self.lag().await;
                self.sample(lag.as_ref());
                let (commands, received) = self.totals();
                self.traffic.rest(commands, received);
            }
        }
    }

    /// Gathers vitals, and adds their lag to the history if that `is_due`.
    async fn gather(&mut self, is_due: bool) {
        let (commands, received) = self.totals();
        let counting = self.traffic.count(commands, received);
        if timeout(TIMEOUT, counting).await.is_err() {
            self.traffic.rest(commands, received);
        }
        let (lag, stream) = tokio::join!(self.lag(), self.stream());
        if is_due {
            self.sample(lag.as_ref());
        }
        let today = self.rejected_today(lag.is_some()).await;
        let rates = self.traffic.rates();
        let vitals = self.vitals(lag, stream, rates.as_ref(), today).await;
        self.monitor.publish(&vitals);
    }

    /// Commands answered and messages received by this process.
    fn totals(&self) -> (u64, u64) {
        let received = self.bridge().map_or(0, |bridge| bridge.received);
        (self.monitor.commands().total(), received)
    }

    fn bridge(&self) -> Option<Snapshot> {
        self.parts.bridge.as_ref().map(|bridge| bridge.snapshot())
    }

    /// Reads the head and the checkpoints; none if Postgres does not answer.
    async fn lag(&self) -> Option<Lag> {
        let store = &self.parts.store;
        let reading = async {
            let (head, recorded_at) = store.head_recorded().await?;
            let statuses = projections::statuses(store, &crate::consumer_names()).await?;
            Ok::<_, Unavailable>(Lag { head, recorded_at, statuses })
        };
        match timeout(TIMEOUT, reading).await {
            Ok(Ok(lag)) => Some(lag),
            Ok(Err(error)) => {
                tracing::debug!(%error, "lag could not be read");
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Asks NATS for the stream; none if it does not answer or has none.
    async fn stream(&self) -> Option<StreamState> {
        if !self.nats_connected() {
            return None;
        }
        timeout(TIMEOUT, self.parts.bus.stream_state()).await.ok()?.ok()?
    }

    fn nats_connected(&self) -> bool {
        *self.parts.bus.connected().borrow()
    }

    fn sample(&mut self, lag: Option<&Lag>) {
        let (now, before) = (Instant::now(), self.sampled);
        let Some(Lag { head, statuses, .. }) = lag else { return };
        self.sampled = Some((now, *head));
        let events_per_second = before.map(|(at, position)| {
            let events = i32::try_from(head.0 - position.0).unwrap_or(i32::MAX).max(0);
            round(f64::from(events) / (now - at).as_secs_f64())
        });
        let consumers = statuses.iter().map(|status| {
            (status.name.clone(), (status.events_behind, round(status.seconds_behind)))
        });
        let sample =
            LagSample { at: Utc::now(), events_per_second, consumers: consumers.collect() };
        self.monitor.add(sample);
    }

    /// The messages refused since midnight, counted every ten seconds.
    async fn rejected_today(&mut self, is_up: bool) -> Option<i64> {
        if !is_up {
            return None;
        }
        if let Some((at, count)) = self.rejected
            && at.elapsed() < INTERVAL
        {
            return count;
        }
        let midnight = Utc::now().date_naive().and_time(NaiveTime::MIN).and_utc();
        let pool = self.parts.store.pool();
        let counting = projections::telemetry::count_rejections(pool, midnight, MOST_REJECTED);
        let count = timeout(TIMEOUT, counting).await.ok().and_then(Result::ok).flatten();
        self.rejected = Some((Instant::now(), count));
        count
    }

    async fn vitals(
        &mut self,
        lag: Option<Lag>,
        stream: Option<StreamState>,
        rates: Option<&Rates>,
        today: Option<i64>,
    ) -> Vitals {
        let postgres = Connection { connected: lag.is_some() };
        let mut statuses = None;
        if let Some(lag) = lag {
            self.head = (lag.head, lag.recorded_at);
            statuses = Some(lag.statuses);
        }
        let ((head, head_recorded_at), store) = (self.head, &self.parts.store);
        // Not judged by this process's own clock, as the times of events are not.
        let at = if postgres.connected { store.now().await.ok() } else { None };
        let parked = statuses.iter().flatten().map(|status| status.parked).sum();
        let relay = statuses.iter().flatten().find(|status| status.name == Relay::NAME);
        let relay = stream.map(|stream| of_stream(stream, relay));
        let bridge = self.bridge();
        let broker = bridge.map(|bridge| bridge.state == State::Connected);
        Vitals {
            at: at.unwrap_or_else(Utc::now),
            head: head.0,
            head_recorded_at,
            events_per_second: rates.map(|rates| rates.events),
            commit_ms: Percentiles::of(store.commit_latency()),
            visible_ms: Percentiles::of(&self.visible),
            contexts: contexts(rates),
            doors: self.doors(rates, bridge),
            parked_streams: postgres.connected.then_some(parked),
            consumers: self.consumers.describe(statuses.unwrap_or_default(), head.0),
            relay,
            bridge: bridge.map(of_bridge),
            postgres,
            nats: Connection { connected: self.nats_connected() },
            broker: broker.map(|connected| Connection { connected }),
            rejected: Rejected { today, per_second: rates.map(|rates| rates.rejected) },
        }
    }

    fn doors(&self, rates: Option<&Rates>, bridge: Option<Snapshot>) -> Vec<DoorVitals> {
        let detail = |door| match door {
            Door::Http => DoorDetail {
                commands_per_second: rates.map(|rates| rates.commands),
                p99_ms: Percentiles::of(self.monitor.commands()).map(Percentiles::p99),
                ..DoorDetail::default()
            },
            Door::Mqtt => DoorDetail {
                received_per_second: bridge.and(rates).map(|rates| rates.received),
                unacknowledged: bridge.map(|bridge| bridge.in_flight),
                connected: bridge.map(|bridge| bridge.state == State::Connected),
                ..DoorDetail::default()
            },
            Door::Nats => {
                DoorDetail { connected: Some(self.nats_connected()), ..DoorDetail::default() }
            }
        };
        let doors = Door::ALL.into_iter().enumerate().map(|(at, door)| DoorVitals {
            door,
            events_per_second: rates.map(|rates| rates.doors[at]),
            detail: detail(door),
        });
        doors.collect()
    }
}

fn contexts(rates: Option<&Rates>) -> Vec<ContextRate> {
    let contexts = CONTEXTS.iter().enumerate().map(|(at, context)| ContextRate {
        context: context.name,
        events_per_second: rates.map(|rates| rates.contexts[at]),
    });
    contexts.collect()
}

fn of_stream(stream: StreamState, relay: Option<&Status>) -> RelayVitals {
    let last = stream.last_position.map(|position| position.0);
    let sequence = i64::try_from(stream.last_sequence).unwrap_or(i64::MAX);
    RelayVitals {
        position: last.or(relay.map(|relay| relay.position)).unwrap_or_default(),
        stream_sequence: stream.last_sequence,
        offset: last.map(|last| sequence - last),
        stream_bytes: stream.bytes,
        stream_messages: stream.messages,
    }
}

fn of_bridge(books: Snapshot) -> BridgeVitals {
    let Snapshot { received, appended, duplicate, rejected, in_flight, .. } = books;
    BridgeVitals { received, appended, duplicate, rejected, in_flight }
}
