//! Backpressure: the doors take no readings and no page views while a consumer of the log falls behind
//! further than `--intake-max-lag`, so that an overload ends soon after its cause. MQTT messages wait
//! at the broker; HTTP requests are refused and can be repeated.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventstore::{LogReader, Tasks, Unavailable};
use futures::future::try_join;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Interval between two measurements.
const EVERY: Duration = Duration::from_millis(500);
/// Time without a move after which a consumer stands still.
const STILL_AFTER: Duration = Duration::from_secs(10);
/// Time without a pause after which an overload is over, and is logged as such.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// Whether the intake of this process is paused. Clones see the same.
#[derive(Debug, Clone)]
pub struct Backpressure(watch::Receiver<Option<Behind>>);

/// A consumer that is too far behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    consumer: Arc<str>,
    events: i64,
    limit: i64,
}

impl fmt::Display for Behind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, events, limit } = self;
        write!(
            formatter,
            "consumer {consumer} is {events} events behind the log and falls behind further \
             (--intake-max-lag {limit})"
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

    /// The consumer for which the intake is paused; none if it is not.
    pub(crate) fn paused(&self) -> Option<Behind> {
        self.0.borrow().clone()
    }

    /// Waits until the intake is not paused. Cancel-safe.
    pub(crate) async fn released(&mut self) {
        // At the shutdown the sender is gone, and nothing is paused any longer.
        drop(self.0.wait_for(Option::is_none).await);
    }
}

/// Measures until it is cancelled.
async fn follow(reader: LogReader, limit: i64, paused: watch::Sender<Option<Behind>>) {
    let mut rule = Rule::new(limit);
    let mut last_pause = None::<Instant>;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Without an answer nothing is known to have changed, and nothing can be appended.
        let Ok((head, positions)) = measure(&reader).await else { continue };
        let now = Instant::now();
        let behind = rule.apply(now, head, &positions);
        if let Some(behind) = &behind {
            if last_pause.is_none() {
                tracing::warn!("intake paused: {behind}");
            }
            last_pause = Some(now);
        } else if last_pause.is_some_and(|at| now - at > OVER_AFTER) {
            tracing::info!("intake no longer paused: consumers keep up");
            last_pause = None;
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
/// A consumer may be `limit` events behind. One that was behind further when it began to move, such as
/// after an outage, may stay as far behind as it is, but not fall behind further. One that stands still
/// pauses nothing: events must be recorded while a projection is down.
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
            if std::mem::replace(&mut seen.position, position) != position {
                seen.moved_at = Some(now);
            }
            let moves = seen.moved_at.is_some_and(|at| now - at <= STILL_AFTER);
            seen.allowed = if moves { allowed.min(seen.allowed) } else { allowed };
            if events > seen.allowed {
                over.push((events, name));
            }
        }
        let (events, name) = over.into_iter().max()?;
        Some(Behind { consumer: name.into(), events, limit })
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
    fn the_consumer_that_is_furthest_behind_is_named() {
        let mut rule = Rule::new(LIMIT);
        let now = Instant::now();
        assert_eq!(rule.apply(now, 0, &[("works", 0), ("orders", 0)]), None);
        let behind = rule.apply(now, 5_000, &[("works", 9), ("orders", 10)]).unwrap();
        let text = "consumer works is 4991 events behind the log and falls behind further \
                    (--intake-max-lag 1000)";
        assert_eq!(behind.to_string(), text);
    }
}
