//! The relay: publishes the log to JetStream, in order, each event once.
//!
//! It resumes from the stream's own last message. Positions have no gaps, so an event's sequence is
//! its position less an offset, and every message names the sequence and the event that must precede
//! it: the server refuses a second relay, a gap or a late retry, which would break the order. A relay
//! that finds another one publishing stands by.

mod context_of;
mod interrupted;
mod cursor;
mod window;

pub use context_of::ContextOf;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use eventsourcing::Position;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::bus::message;
use crate::bus::{Bus, BusError, DUPLICATE_WINDOW};
use crate::read::ALL;
use crate::read::head_watch::{self, HeadEstimate};
use crate::read::stream_tail::StreamTail;
use crate::{EventStore, Page, RawEvent, Unavailable};
use cursor::Cursor;
use interrupted::Interrupted;
use window::{WINDOW, Window};

/// How long an acknowledgement may take before the messages in flight count as lost.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the stream is compared with what was published to it.
const CHECK: Duration = Duration::from_secs(2);
/// Interval at which a relay that stands by checks whether another one publishes; up to twice this.
const STANDBY: Duration = Duration::from_millis(500);
/// First and longest wait after a failure; each wait is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A running relay.
#[derive(Debug, Clone)]
pub struct Relay {
    position: watch::Receiver<Position>,
}

impl Relay {
    /// Starts a relay. Any number may run, in any number of processes: one publishes.
    pub fn start(
        store: EventStore,
        bus: Bus,
        context_of: ContextOf,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, position) = watch::channel(Position::START);
        let estimate = head_watch::follow(
            &store,
            Some(bus.clone()),
            position.clone(),
            tasks,
            shutdown.clone(),
        );
        let publisher = Publisher {
            store,
            connected: bus.connected(),
            bus,
            context_of,
            estimate,
            position: sender,
            furthest: Position::START,
        };
        tasks.spawn(async move {
            // May stop anywhere: the next relay resumes from the stream itself.
            shutdown.run_until_cancelled(Box::pin(publisher.run())).await;
        });
        Self { position }
    }

    /// The last position that the stream is known to hold.
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }
}

struct Publisher {
    store: EventStore,
    bus: Bus,
    connected: watch::Receiver<bool>,
    context_of: ContextOf,
    estimate: watch::Receiver<HeadEstimate>,
    position: watch::Sender<Position>,
    /// The highest position this process has published.
    furthest: Position,
}

impl Publisher {
    async fn run(mut self) {
        let mut wait = BACKOFF.0;
        loop {
            let before = *self.position.borrow();
            let Err(why) = self.publish().await;
            if *self.position.borrow() > before {
                wait = BACKOFF.0;
            }
            match why {
                Interrupted::Rival => {
                    tracing::info!("another relay publishes, standing by");
                    self.stand_by().await;
                    tracing::info!("no relay publishes, taking over");
                }
                // After its window for duplicates it accepts them.
                Interrupted::Remembered => sleep(DUPLICATE_WINDOW).await,
                Interrupted::Away => {}
                error => {
                    metrics::counter!("tributary_relay_errors_total").increment(1);
                    tracing::warn!(error = &error as &dyn Error, "relay failed, retrying");
                    sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Publishes until the connection, the stream or the log fails.
    async fn publish(&mut self) -> Result<Infallible, Interrupted> {
        // Any later change of the connection interrupts.
        let present = self.connected.wait_for(|up| *up).await.is_ok();
        if !present {
            return std::future::pending().await; // The client is closed for good.
        }
        let cursor = Cursor::resume(&self.store, &self.bus).await?;
        self.bus.log_server();
        self.resumed_at(cursor.position());
        let mut session = Session {
            window: Window::open(&self.bus).await?,
            read: cursor.position(),
            cursor,
            ready: VecDeque::new(),
            reading: None,
            asked: HeadEstimate::default(),
            exhausted: false,
        };
        let rewinds = self.estimate.borrow().rewinds;
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.reset();
        let mut stalled_at = Instant::now();
        loop {
            let was_idle = session.window.is_empty();
            session.send(self).await?;
            let estimate = *self.estimate.borrow_and_update();
            if estimate.rewinds != rewinds {
                return Err(Interrupted::Rewound);
            }
            session.read_on(&self.store, estimate);
            let idle = session.window.is_empty();
            if was_idle && !idle {
                stalled_at = Instant::now() + ACK_TIMEOUT;
            }
            tokio::select! {
                _ = self.connected.changed() => return Err(Interrupted::Away),
                acknowledged = session.window.acknowledged(), if !idle => {
                    self.acknowledged(acknowledged?);
                    stalled_at = Instant::now() + ACK_TIMEOUT;
                }
                page = next_page(&mut session.reading) => session.take(page?),
                _ = self.estimate.changed() => {}
                () = sleep_until(stalled_at), if !idle => return Err(Interrupted::Stalled),
                _ = check.tick() => session.cursor.check(&self.bus, idle).await?,
            }
        }
    }

    fn resumed_at(&mut self, position: Position) {
        if position < self.furthest {
            metrics::counter!("tributary_relay_rewinds_total").increment(1);
            tracing::warn!(
                %position, published = %self.furthest,
                "stream has lost events, publishing them again"
            );
            self.furthest = position;
        }
        self.moved_to(position);
    }

    fn acknowledged(&mut self, position: Position) {
        let before = self.position.borrow().0;
        let events = u64::try_from(position.0 - before).unwrap_or_default();
        metrics::counter!("tributary_relay_published_total").increment(events);
        self.moved_to(position);
    }

    fn moved_to(&mut self, position: Position) {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
        metrics::gauge!("tributary_relay_position").set(position.0 as f64);
        self.furthest = self.furthest.max(position);
        self.position.send_replace(position);
    }

    /// Returns when the stream lags behind the log and does not grow.
    async fn stand_by(&mut self) {
        let mut stuck_at = None;
        loop {
            // Two relays that stand by must not always wake together.
            let random = u64::from(Uuid::now_v7().as_bytes()[15]);
            sleep(STANDBY + STANDBY * u32::try_from(random).unwrap_or(0) / 256).await;
            let Ok(position) = self.stream_position().await else {
                continue; // Without NATS no relay publishes.
            };
            self.position.send_replace(position);
            let lags = position < self.estimate.borrow().head;
            if lags && stuck_at == Some(position) {
                return;
            }
            stuck_at = lags.then_some(position);
        }
    }

    async fn stream_position(&self) -> Result<Position, BusError> {
        let Some(info) = self.bus.stream_info().await? else {
            return Ok(Position::START);
        };
        let tail = StreamTail::read(&self.bus, &info).await?;
        Ok(tail.map_or(Position::START, |tail| tail.position()))
    }
}

/// Publishing from one resumption to the next.
struct Session {
    cursor: Cursor,
    window: Window,
    /// Events read from the log and not yet published.
    ready: VecDeque<RawEvent>,
    /// The position up to which the log has been read.
    read: Position,
    reading: Option<Reading>,
    /// The estimate of the head when the last page was requested.
    asked: HeadEstimate,
    /// Whether that page was empty: the next is requested when the estimate changes.
    exhausted: bool,
}

type Reading = BoxFuture<'static, Result<Page, Unavailable>>;

impl Session {
    /// Publishes events while the window has room.
    async fn send(&mut self, publisher: &Publisher) -> Result<(), Interrupted> {
        while self.window.has_room()
            && let Some(event) = self.ready.pop_front()
        {
            let position = event.position;
            let place = self
                .cursor
                .place(&publisher.store, &publisher.bus, publisher.context_of, &event)
                .await?;
            let sequence = self.cursor.sequence_of(position);
            let outgoing = message::encode(event, &place, publisher.bus.client().max_payload());
            self.window.publish(position, sequence, outgoing).await?;
        }
        Ok(())
    }

    /// Starts reading the next page if there is one and room for it.
    fn read_on(&mut self, store: &EventStore, estimate: HeadEstimate) {
        let wanted = self.reading.is_none()
            && self.ready.len() < WINDOW
            && estimate.head > self.read
            && !(self.exhausted && self.asked == estimate);
        if wanted {
            self.asked = estimate;
            let (store, after) = (store.clone(), self.read);
            // Whatever is visible is committed, and without gaps.
            let read = async move { store.read(after, Position(i64::MAX), &ALL, WINDOW).await };
            self.reading = Some(read.boxed());
        }
    }

    fn take(&mut self, page: Page) {
        self.reading = None;
        self.exhausted = page.events.is_empty();
        if let Some(last) = page.events.last() {
            self.read = last.position;
        }
        self.ready.extend(page.events);
    }
}

async fn next_page(reading: &mut Option<Reading>) -> Result<Page, Unavailable> {
    match reading {
        Some(page) => page.await,
        None => std::future::pending().await,
    }
}
