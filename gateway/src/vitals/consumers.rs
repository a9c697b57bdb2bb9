//! The consumers of the log as the console shows them: with their kind and contexts, and with the time
//! that a rebuild still takes.

use std::collections::HashMap;
use std::time::Instant;

use commands::alerts::Watcher;
use domain::CONTEXTS;
use eventstore::Relay;
use projections::Status;

use super::sample::{ConsumerVitals, Kind, round};
use crate::bridge::ALERTS_OUT;

/// Names of all contexts.
fn all() -> Vec<&'static str> {
    CONTEXTS.iter().map(|context| context.name).collect()
}

/// Kind and contexts of the consumer `name`.
fn described(name: &str) -> (Kind, Vec<&'static str>) {
    if let Some((_, categories)) =
        projections::categories().into_iter().find(|(known, _)| *known == name)
    {
        let contexts = CONTEXTS.iter().filter(|context| {
            context.categories.iter().any(|category| categories.contains(category))
        });
        let contexts: Vec<_> = contexts.map(|context| context.name).collect();
        return (Kind::Projection, if categories.is_empty() { all() } else { contexts });
    }
    match name {
        Relay::NAME => (Kind::Relay, all()),
        ALERTS_OUT => (Kind::Publisher, vec![domain::alerts::CONTEXT.name]),
        Watcher::NAME => {
            (Kind::Evaluator, vec![domain::alerts::CONTEXT.name, domain::telemetry::CONTEXT.name])
        }
        _ => (Kind::ProcessManager, vec![domain::orders::CONTEXT.name]),
    }
}

/// Where a rebuild was first seen, from which its rate is measured.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    position: i64,
}

/// Describes statuses, and remembers the rebuilds among them.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    rebuilds: HashMap<String, Seen>,
}

impl Consumers {
    /// The consumers with these statuses.
    pub(super) fn describe(&mut self, statuses: Vec<Status>, head: i64) -> Vec<ConsumerVitals> {
        statuses.into_iter().map(|status| self.one(status, head)).collect()
    }

    fn one(&mut self, status: Status, head: i64) -> ConsumerVitals {
        let (kind, contexts) = described(&status.name);
        ConsumerVitals {
            rebuild_seconds_left: self.seconds_left(&status, head),
            name: status.name,
            kind,
            contexts,
            state: status.state,
            position: status.position,
            events_behind: status.events_behind,
            seconds_behind: round(status.seconds_behind),
            events_per_second: round(status.events_per_second),
            heartbeat_age_seconds: status.heartbeat_age_seconds.map(round),
            parked: status.parked,
            error: status.error,
            rebuild_position: status.rebuild_position,
        }
    }

    fn seconds_left(&mut self, status: &Status, head: i64) -> Option<f64> {
        let Some(position) = status.rebuild_position else {
            self.rebuilds.remove(&status.name);
            return None;
        };
        let now = Seen { at: Instant::now(), position };
        let first = self.rebuilds.entry(status.name.clone()).or_insert(now);
        if first.position > position {
            *first = now; // Another rebuild.
        }
        let (moved, seconds) = (position - first.position, first.at.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
        let left = (head - position).max(0) as f64 / moved as f64 * seconds;
        (moved > 0).then(|| round(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_consumer_has_a_kind_and_contexts() {
        let mut of = HashMap::<&str, (Kind, Vec<_>)>::new();
        for name in crate::consumer_names() {
            let described = described(name);
            assert!(!described.1.is_empty(), "{name}");
            of.insert(name, described);
        }
        assert_eq!(of["works"], (Kind::Projection, vec!["works"]));
        assert_eq!(of["stock_level"], (Kind::Projection, vec!["orders"]));
        assert_eq!(of["trace"].1.len(), CONTEXTS.len());
        assert_eq!(of["alert_watch"].0, Kind::Evaluator);
        assert_eq!(of["fulfilment"], (Kind::ProcessManager, vec!["orders"]));
        assert_eq!(of["relay"].0, Kind::Relay);
        let publishers = of.values().filter(|(kind, _)| *kind == Kind::Publisher);
        assert_eq!(publishers.count(), 1);
    }
}
