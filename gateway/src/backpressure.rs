//! Backpressure: the doors take no readings and no page views while a consumer of the log is further
//! behind than `--intake-max-lag` allows, so that an overload ends soon after its cause. MQTT messages
//! wait at the broker; HTTP requests are refused and can be repeated.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use eventstore::{LogReader, Tasks, Unavailable};
use futures::future::try_join;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Interval between two measurements.
const EVERY: Duration = Duration::from_millis(500);
/// Longest time of a measurement.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Time without a move after which a consumer stands still.
const STILL_AFTER: Duration = Duration::from_secs(10);
/// Time without a pause after which an overload is over, and is logged as such.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// Whether the intake of this process is paused. Clones see the same.
#[derive(Debug, Clone)]
pub struct Backpressure(watch::Receiver<Option<Behind>>);

/// A consumer that is too far behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    consumer: &'static str,
    events: i64,
    allowed: i64,
}

impl fmt::Display for Behind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, events, allowed } = self;
        write!(
            formatter,
            "consumer {consumer} is {events} events behind the log, and may be {allowed}"
        )
    }
}

impl Backpressure {
    /// Never pauses.
    pub fn never() -> Self {
        Self(watch::channel(None).1)
    }

    /// Follows the lag of all consumers and allows them `limit` events.
    pub(crate) fn start(
        reader: LogReader,
        limit: u32,
        tasks: &Tasks,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, receiver) = watch::channel(None);
        tasks.spawn("backpressure", async move {
            shutdown.run_until_cancelled(follow(reader, limit.into(), sender)).await;
        });
        Self(receiver)
    }

    /// A paused intake, until the sender is dropped.
    #[cfg(test)]
    pub(crate) fn paused_for_test() -> (watch::Sender<Option<Behind>>, Self) {
        let behind = Behind { consumer: "works", events: 2, allowed: 1 };
        let (sender, receiver) = watch::channel(Some(behind));
        (sender, Self(receiver))
    }

    /// Whether the intake is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until the intake is not paused. Cancel-safe.
    pub(crate) async fn released(&mut self) {
        // An error says that the sender is gone: the process shuts down.
        drop(self.0.wait_for(Option::is_none).await);
    }
}

/// Measures until it is cancelled.
async fn follow(reader: LogReader, limit: i64, paused: watch::Sender<Option<Behind>>) {
    let mut rule = Rule::new(limit);
    let mut measured_at = Instant::now();
    // The last pause of this overload, and the consumer that was logged.
    let mut last_pause = None::<(Instant, &str)>;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let measured = timeout(TIMEOUT, measure(&reader)).await;
        let now = Instant::now();
        let behind = match measured {
            Ok(Ok((head, positions))) => {
                measured_at = now;
                rule.apply(now, head, &positions)
            }
            // What was known holds for a while: the database may only be busy.
            _ if now - measured_at <= STILL_AFTER => continue,
            _ => {
                rule = Rule::new(limit);
                None
            }
        };
        match (&behind, last_pause) {
            (Some(behind), logged) => {
                if logged.is_none_or(|(_, consumer)| consumer != behind.consumer) {
                    tracing::warn!(limit, "intake paused: {behind}");
                }
                last_pause = Some((now, behind.consumer));
            }
            (None, Some((at, _))) if now - at > OVER_AFTER => {
                tracing::info!("intake no longer paused");
                last_pause = None;
            }
            (None, _) => {}
        }
        metrics::gauge!("tributary_intake_paused").set(u8::from(behind.is_some()));
        paused.send_replace(behind);
    }
}

/// Reads the head and the position of each consumer.
async fn measure(reader: &LogReader) -> Result<(i64, Vec<(&'static str, i64)>), Unavailable> {
    let (head, checkpoints) = try_join(reader.head(), reader.checkpoints()).await?;
    let names = crate::consumer_names();
    let positions = checkpoints.iter().filter_map(|checkpoint| {
        let name = names.iter().find(|name| **name == checkpoint.consumer)?;
        Some((*name, checkpoint.position.0))
    });
    Ok((head.0, positions.collect()))
}

/// Decides whether the intake is paused.
///
/// A consumer may be `limit` events behind. One that was further behind when it began to move, such as
/// after an outage, may be as far behind as it was at best since then. One that stands still, or has
/// gone back, pauses nothing: events must be recorded while a projection is down.
struct Rule {
    limit: i64,
    seen: HashMap<&'static str, Seen>,
}

/// What is remembered of a consumer.
struct Seen {
    position: i64,
    moved_at: Option<Instant>,
    /// Events that it may be behind.
    allowed: i64,
}

impl Rule {
    fn new(limit: i64) -> Self {
        Self { limit, seen: HashMap::new() }
    }

    /// The consumer for which the intake is paused at `now`, given the head and all positions.
    fn apply(
        &mut self,
        now: Instant,
        head: i64,
        positions: &[(&'static str, i64)],
    ) -> Option<Behind> {
        let limit = self.limit;
        let mut over = Vec::new();
        for &(name, position) in positions {
            let events = head - position;
            // Less than this is not a trend: consumers commit in batches.
            let allowed = (events + limit / 10).max(limit);
            let seen = self.seen.entry(name).or_insert(Seen { position, moved_at: None, allowed });
            match position.cmp(&seen.position) {
                // The relay, if the stream was lost and is filled again.
                Ordering::Less => seen.moved_at = None,
                Ordering::Equal => {}
                Ordering::Greater => seen.moved_at = Some(now),
            }
            seen.position = position;
            let moves = seen.moved_at.is_some_and(|at| now - at <= STILL_AFTER);
            seen.allowed = if moves { allowed.min(seen.allowed) } else { allowed };
            if events > seen.allowed {
                over.push(Behind { consumer: name, events, allowed: seen.allowed });
            }
        }
        over.into_iter().max_by_key(|behind| behind.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 1_000;

    /// Applies the rule to a consumer once a second; each step is the head and its position.
    fn paused(steps: &[(i64, i64)]) -> Vec<bool> {
        let start = Instant::now();
        let mut rule = Rule::new(LIMIT);
        let seconds = (0..).map(Duration::from_secs);
        let steps = steps.iter().zip(seconds);
        let apply = |(&(head, position), second): (&(i64, i64), Duration)| {
            rule.apply(start + second, head, &[("works", position)]).is_some()
        };
        steps.map(apply).collect()
    }

    #[test]
    fn a_consumer_that_moves_may_be_as_far_behind_as_the_limit_and_no_further() {
        let steps = [(0, 0), (900, 100), (1_300, 300), (1_301, 300), (1_301, 302)];
        assert_eq!(paused(&steps), [false, false, false, true, false]);
    }

    #[test]
    fn a_consumer_that_stands_still_pauses_nothing() {
        let still: Vec<_> = (0..20).map(|second| (second * 1_000, 0)).collect();
        assert!(paused(&still).iter().all(|paused| !paused));
        // One that stops does so for ten seconds only.
        let mut stops = vec![(0, 0), (1_000, 500)];
        stops.extend((0..20).map(|second| (10_000 + second, 500)));
        let paused = paused(&stops);
        assert!(paused[2] && paused[11] && paused[12..].iter().all(|paused| !paused), "{paused:?}");
    }

    #[test]
    fn a_consumer_that_returns_after_an_outage_may_only_gain() {
        let gains = [(50_000, 0), (50_000, 100), (51_000, 2_000), (52_000, 4_000)];
        assert_eq!(paused(&gains), [false; 4]);
        let falls_behind = [(50_000, 0), (50_000, 100), (51_000, 200), (51_000, 1_100)];
        assert_eq!(paused(&falls_behind), [false, false, true, false]);
    }

    #[test]
    fn a_relay_that_fills_a_lost_stream_again_pauses_nothing() {
        let steps = [(100_000, 99_900), (100_000, 99_950), (100_000, 100), (100_500, 5_000)];
        assert_eq!(paused(&steps), [false; 4]);
    }

    #[test]
    fn the_consumer_that_is_furthest_behind_is_named() {
        let mut rule = Rule::new(LIMIT);
        let now = Instant::now();
        assert_eq!(rule.apply(now, 0, &[("works", 0), ("orders", 0)]), None);
        let behind = rule.apply(now, 5_000, &[("works", 9), ("orders", 10)]).unwrap();
        let text = "consumer works is 4991 events behind the log, and may be 1000";
        assert_eq!(behind.to_string(), text);
    }
}
