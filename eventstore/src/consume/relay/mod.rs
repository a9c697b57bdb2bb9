//! The relay: publishes the log to JetStream, in order, each event once.
//!
//! It resumes after the last event of the log that the stream holds. Every message names the sequence
//! and the event that must precede it: the server refuses a second relay, a gap or a late retry, which
//! would break the order. A relay that finds another one publishing stands by; after messages of other
//! programs, which are skipped, it continues behind them.

mod context_of;
mod interrupted;
mod lost_tail;
mod tail;
mod cursor;
mod window;
mod session;
mod report;

pub use context_of::ContextOf;
pub use report::RelayReport;

use std::convert::Infallible;
use std::time::Duration;

use eventsourcing::Position;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::{Bus, DUPLICATE_WINDOW};
use crate::read::head_watch::{self, HeadEstimate};
use crate::{EventStore, Tasks};
use cursor::{Cursor, Previous};
use interrupted::Interrupted;
use report::Reporter;
use session::{Session, next_page};
use tail::Tail;
use window::Published;

/// How long an acknowledgement may take before the messages in flight count as lost.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the connection may take before it is reported.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
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
    report: watch::Receiver<Option<RelayReport>>,
}

impl Relay {
    /// Name of the relay among the consumers of the log. Its checkpoint under this name shows how far it
    /// is; the relay itself resumes from the end of the JetStream stream.
    pub const NAME: &str = "relay";

    /// Starts a relay. Any number may run, in any number of processes: one publishes.
    pub fn start(
        store: EventStore,
        bus: Bus,
        context_of: ContextOf,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, position) = watch::channel(Position::START);
        let (report_sender, report) = watch::channel(None);
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
            reporter: Reporter::new(report_sender),
            greeted: false,
            furthest: Position::START,
            acknowledged: None,
            epoch: 0,
            previous: Previous::new(),
            counted: 0,
        };
        tasks.spawn("relay", async move {
            // May stop anywhere: the next relay resumes from the stream itself.
            shutdown.run_until_cancelled(Box::pin(publisher.run())).await;
        });
        Self { position, report }
    }

    /// Watches what the relay reports; none while another relay publishes.
    pub fn report(&self) -> watch::Receiver<Option<RelayReport>> {
        self.report.clone()
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
    reporter: Reporter,
    /// Whether this connection's server was logged.
    greeted: bool,
    /// The highest position this process has published.
    furthest: Position,
    /// The last event that the stream has acknowledged to this process, and the epoch it belongs to.
    acknowledged: Option<Published>,
    epoch: i64,
    /// The last position of each context up to `furthest` at most, from the session before.
    previous: Previous,
    /// The sequence up to which foreign messages were counted.
    counted: u64,
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
            let rival = match why {
                Interrupted::Rival => true,
                Interrupted::Overtaken(position) => self.is_published(position).await,
                _ => false,
            };
            match why {
                _ if rival => self.stand_by().await,
                // A foreign message has taken the sequence: it is found and skipped.
                Interrupted::Overtaken(_) if wait < BACKOFF.1 => wait = back_off(wait).await,
                // After its window for duplicates it accepts them.
                Interrupted::Remembered => sleep(DUPLICATE_WINDOW).await,
                Interrupted::Away => self.greeted = false,
                error => {
                    self.reporter.failed(&error, *self.position.borrow());
                    wait = back_off(wait).await;
                }
            }
        }
    }

    /// Publishes until the connection, the stream or the log fails.
    async fn publish(&mut self) -> Result<Infallible, Interrupted> {
        // Any later change of the connection interrupts.
        while !*self.connected.borrow_and_update() {
            match timeout(CONNECT_TIMEOUT, self.connected.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return std::future::pending().await,
                Err(_elapsed) => {
                    self.reporter.failed(&Interrupted::Away, *self.position.borrow());
                }
            }
        }
        self.check_log().await?;
        let previous = std::mem::take(&mut self.previous);
        let (store, bus) = (&self.store, &self.bus);
        let known = self.acknowledged;
        let cursor =
            Cursor::resume(store, bus, previous, self.furthest, self.counted, known).await?;
        if !std::mem::replace(&mut self.greeted, true) {
            self.bus.log_server();
        }
        self.resumed_at(&cursor);
        let mut session = Session::open(&self.bus, cursor).await?;
        let why = self.follow(&mut session).await;
        self.previous = session.cursor.previous;
        why
    }

    /// Starts a new epoch if the log has lost the last event that this process has published. The
    /// stream is then purged and refilled, and subscribers notice.
    async fn check_log(&mut self) -> Result<(), Interrupted> {
        let Some(published) = self.acknowledged else { return Ok(()) };
        if lost_tail::is_lost(&self.store, published).await? {
            lost_tail::begin_epoch(&self.store, self.epoch).await?;
            tracing::error!(
                position = %published.position, epoch = self.epoch,
                "log has lost published events: a standby without them was promoted, or a backup \
                 was restored; the next epoch begins"
            );
            self.acknowledged = None;
        }
        Ok(())
    }

    /// Interrupts the session if the log has lost the last event that this process has published:
    /// nothing is published behind it.
    async fn check_published(&self) -> Result<(), Interrupted> {
        match self.acknowledged {
            Some(published) if lost_tail::is_lost(&self.store, published).await? => {
                Err(Interrupted::Rewound)
            }
            _ => Ok(()),
        }
    }

    async fn follow(&mut self, session: &mut Session) -> Result<Infallible, Interrupted> {
        let rewinds = self.estimate.borrow().rewinds;
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.reset();
        let mut stalled_at = Instant::now();
        loop {
            let was_idle = session.window.is_empty();
            session.send(&self.store, &self.bus, self.context_of).await?;
            let estimate = *self.estimate.borrow_and_update();
            if estimate.rewinds != rewinds {
                return Err(Interrupted::Rewound);
            }
            session.read_on(&self.store, estimate);
            let oldest = session.window.oldest();
            if was_idle && oldest.is_some() {
                stalled_at = Instant::now() + ACK_TIMEOUT;
            }
            tokio::select! {
                _ = self.connected.changed() => return Err(Interrupted::Away),
                acknowledged = session.window.acknowledged(), if oldest.is_some() => {
                    self.acknowledged(acknowledged?);
                    stalled_at = Instant::now() + ACK_TIMEOUT;
                }
                page = next_page(&mut session.reading) => {
                    let page = page?;
                    self.check_published().await?;
                    session.take(page);
                }
                _ = self.estimate.changed() => {}
                () = sleep_until(stalled_at), if oldest.is_some() => {
                    return Err(Interrupted::Stalled(oldest.unwrap_or(Position::START)));
                }
                _ = check.tick() => {
                    self.check_published().await?;
                    session.cursor.check(&self.bus, oldest.is_none()).await?;
                    if session.is_idle() {
                        self.reporter.works(session.cursor.position());
                    }
                }
            }
        }
    }

    fn resumed_at(&mut self, cursor: &Cursor) {
        self.epoch = cursor.epoch();
        let position = cursor.position();
        if position < self.furthest {
            metrics::counter!("tributary_relay_rewinds_total").increment(1);
            tracing::warn!(
                %position, published = %self.furthest,
                "stream has lost events, publishing them again"
            );
            self.furthest = position;
        }
        self.reporter.skipped(cursor.foreign, cursor.sequence());
        self.reporter.differs(cursor.differing.clone());
        // A stream that was created again counts from 1.
        self.counted = cursor.sequence();
        self.moved_to(position);
    }

    fn acknowledged(&mut self, event: Published) {
        let position = event.position;
        self.acknowledged = Some(event);
        let before = self.position.borrow().0;
        let events = u64::try_from(position.0 - before).unwrap_or_default();
        metrics::counter!("tributary_relay_published_total").increment(events);
        self.moved_to(position);
        self.reporter.works(position);
    }

    fn moved_to(&mut self, position: Position) {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
        metrics::gauge!("tributary_relay_position").set(position.0 as f64);
        self.furthest = self.furthest.max(position);
        self.position.send_replace(position);
    }

    /// Returns when the stream lags behind the log and does not grow.
    async fn stand_by(&mut self) {
        tracing::info!("another relay publishes, standing by");
        self.reporter.stands_by();
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
                tracing::info!("no relay publishes, taking over");
                return;
            }
            stuck_at = lags.then_some(position);
        }
    }

    /// Returns whether the stream holds the event at `position`.
    async fn is_published(&self, position: Position) -> bool {
        self.stream_position().await.is_ok_and(|published| published >= position)
    }

    async fn stream_position(&self) -> Result<Position, Interrupted> {
        let Some(info) = self.bus.stream_info().await? else {
            return Ok(Position::START);
        };
        Ok(Tail::read(&self.store, &self.bus, &info, u64::MAX, self.acknowledged).await?.position)
    }
}

/// Waits for `wait` and returns the next wait.
async fn back_off(wait: Duration) -> Duration {
    sleep(wait).await;
    (wait * 2).min(BACKOFF.1)
}
