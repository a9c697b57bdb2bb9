//! Counts the outcome of every message: `received = appended + duplicate + rejected + in_flight`.

use std::fmt;

use metrics::{Counter, Gauge};
use tokio::sync::watch;

use mqtt::{ConnectionError, Refusal};

/// The counters of one bridge, shared with health checks and tests, and exported as metrics.
#[derive(Debug)]
pub struct Accounting {
    /// All counters change under one lock, so that every snapshot balances.
    books: watch::Sender<Snapshot>,
    /// Why there is no connection. Empty while there is one, and before the first attempt.
    trouble: watch::Sender<String>,
    exported: Exported,
}

/// The counters at one moment. They start at zero with the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Messages received, each delivery counted.
    pub received: u64,
    /// Committed as the event they describe.
    pub appended: u64,
    /// Nothing was recorded: found in the log already, as a redelivered message is, or ignored, as a
    /// retained configuration that others have replaced, or an empty payload.
    pub duplicate: u64,
    /// Committed as rejected.
    pub rejected: u64,
    /// Received and not yet committed.
    pub in_flight: u64,
    /// Those received at `QoS` 0, which the broker does not redeliver.
    pub qos0: u64,
    /// Connections that were subscribed.
    pub connects: u64,
    /// Connections refused, by the broker or by the bridge.
    pub refused: u64,
    /// The same by reason, in the order of [`Refusal::ALL`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// Appends retried because the log was not reachable.
    pub retries: u64,
    /// The state of the connection.
    pub state: State,
}

/// The state of a bridge's connection to its broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Not connecting yet.
    #[default]
    Starting,
    /// Connecting, or waiting for SUBACK.
    Connecting,
    /// Connected and subscribed.
    Connected,
    /// The broker is not reachable; retrying.
    Unreachable,
    /// The broker is reachable but refuses the bridge or is not trusted; retrying, slowly.
    Refused,
    /// Shut down.
    Stopped,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Starting,
        Self::Connecting,
        Self::Connected,
        Self::Unreachable,
        Self::Refused,
        Self::Stopped,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The outcome of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Appended,
    Duplicate,
    Rejected,
}

impl Accounting {
    /// Counters with the label `bridge` in the metrics, whose recorder must be installed already.
    pub fn new(bridge: &'static str) -> Self {
        Self {
            books: watch::Sender::new(Snapshot::default()),
            trouble: watch::Sender::default(),
            exported: Exported::new(bridge),
        }
    }

    /// Why there is no connection to the broker; `None` if there is one.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.borrow();
        (self.snapshot().state != State::Connected).then(|| match trouble.as_str() {
            "" => "not connected yet".to_owned(),
            trouble => trouble.to_owned(),
        })
    }

    /// The counters now. They balance.
    pub fn snapshot(&self) -> Snapshot {
        *self.books.borrow()
    }

    /// Copies the counters into the metrics, all from one snapshot.
    pub fn export(&self) {
        let books = self.snapshot();
        let Exported { received, appended, duplicate, rejected, .. } = &self.exported;
        received.absolute(books.received);
        appended.absolute(books.appended);
        duplicate.absolute(books.duplicate);
        rejected.absolute(books.rejected);
        self.exported.qos0.absolute(books.qos0);
        self.exported.connects.absolute(books.connects);
        for (exported, count) in self.exported.refusals.iter().zip(books.refusals) {
            exported.absolute(count);
        }
        self.exported.retries.absolute(books.retries);
        self.exported.in_flight.set(f64::from(u32::try_from(books.in_flight).unwrap_or(u32::MAX)));
        self.exported.connected.set(f64::from(u8::from(books.state == State::Connected)));
        for (exported, state) in self.exported.states.iter().zip(State::ALL) {
            exported.set(u8::from(books.state == state));
        }
    }

    /// The counters as they change.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.books.subscribe()
    }

    pub(super) fn received(&self, qos0: bool) {
        self.books.send_modify(|books| {
            books.received += 1;
            books.in_flight += 1;
            books.qos0 += u64::from(qos0);
        });
    }

    /// Counts all of `outcomes` at once: they were committed together.
    pub(super) fn settled(&self, outcomes: impl Iterator<Item = Outcome>) {
        let (mut appended, mut duplicate, mut rejected) = (0, 0, 0);
        for outcome in outcomes {
            match outcome {
                Outcome::Appended => appended += 1,
                Outcome::Duplicate => duplicate += 1,
                Outcome::Rejected => rejected += 1,
            }
        }
        let settled = appended + duplicate + rejected;
        self.books.send_modify(|books| {
            books.appended += appended;
            books.duplicate += duplicate;
            books.rejected += rejected;
            books.in_flight -= settled;
        });
    }

    pub(super) fn retried(&self) {
        self.books.send_modify(|books| books.retries += 1);
    }

    pub(super) fn state(&self, state: State) {
        let connected = state == State::Connected;
        self.books.send_modify(|books| {
            books.state = state;
            books.connects += u64::from(connected);
        });
        if connected {
            self.trouble.send_modify(String::clear);
        }
    }

    /// The connection is lost, or could not be made.
    pub(super) fn lost(&self, error: &ConnectionError) {
        self.trouble.send_replace(error.to_string());
        self.books.send_modify(|books| match error.refusal() {
            None => books.state = State::Unreachable,
            Some(refusal) => {
                books.state = State::Refused;
                books.refused += 1;
                for (count, _) in
                    books.refusals.iter_mut().zip(Refusal::ALL).filter(|(_, one)| *one == refusal)
                {
                    *count += 1;
                }
            }
        });
    }
}

struct Exported {
    received: Counter,
    appended: Counter,
    duplicate: Counter,
    rejected: Counter,
    qos0: Counter,
    connects: Counter,
    refusals: [Counter; Refusal::ALL.len()],
    retries: Counter,
    in_flight: Gauge,
    connected: Gauge,
    /// In the order of [`State::ALL`].
    states: [Gauge; State::ALL.len()],
}

impl Exported {
    fn new(bridge: &'static str) -> Self {
        Self {
            received: metrics::counter!("tributary_bridge_received_total", "bridge" => bridge),
            appended: metrics::counter!("tributary_bridge_appended_total", "bridge" => bridge),
            duplicate: metrics::counter!("tributary_bridge_duplicate_total", "bridge" => bridge),
            rejected: metrics::counter!("tributary_bridge_rejected_total", "bridge" => bridge),
            qos0: metrics::counter!("tributary_bridge_qos0_total", "bridge" => bridge),
            connects: metrics::counter!("tributary_bridge_connects_total", "bridge" => bridge),
            refusals: Refusal::ALL.map(|refusal| {
                let reason = refusal.as_str();
                metrics::counter!("tributary_bridge_refused_total", "bridge" => bridge, "reason" => reason)
            }),
            retries: metrics::counter!("tributary_bridge_retries_total", "bridge" => bridge),
            in_flight: metrics::gauge!("tributary_bridge_in_flight", "bridge" => bridge),
            connected: metrics::gauge!("tributary_bridge_connected", "bridge" => bridge),
            states: State::ALL.map(|state| {
                let state = state.as_str();
                metrics::gauge!("tributary_bridge_state", "bridge" => bridge, "state" => state)
            }),
        }
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_balance_and_unsettled_messages_are_in_flight() {
        let accounting = Accounting::new("test");
        for qos0 in [false, false, true, false] {
            accounting.received(qos0);
        }
        accounting.settled([Outcome::Appended, Outcome::Duplicate, Outcome::Rejected].into_iter());
        let books = accounting.snapshot();
        assert_eq!((books.received, books.qos0, books.in_flight), (4, 1, 1));
        assert_eq!((books.appended, books.duplicate, books.rejected), (1, 1, 1));
    }

    #[test]
    fn a_refusal_is_counted_by_its_reason_and_reported_until_connected() {
        let accounting = Accounting::new("test");
        accounting.lost(&ConnectionError::Refused(rumqttc::ConnectReturnCode::NotAuthorized));
        let books = accounting.snapshot();
        assert_eq!(
            (books.state, books.refused, books.refusals),
            (State::Refused, 1, [1, 0, 0, 0, 0, 0])
        );
        assert!(accounting.trouble().unwrap().contains("NotAuthorized"));
        accounting.lost(&ConnectionError::Timeout);
        assert_eq!(
            (accounting.snapshot().state, accounting.snapshot().refused),
            (State::Unreachable, 1)
        );
        accounting.state(State::Connected);
        assert_eq!(accounting.trouble(), None);
    }
}
