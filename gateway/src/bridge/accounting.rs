//! What became of every message: `received = appended + duplicate + rejected + in_flight`.

use std::fmt;

use metrics::{Counter, Gauge};
use tokio::sync::watch;

use mqtt::Lost;
use mqtt::Refusal;

/// The books of one bridge, shared with health checks and tests, and exported as metrics.
#[derive(Debug)]
pub struct Accounting {
    /// All figures change under one lock, so that no reader ever sees them out of balance.
    books: watch::Sender<Snapshot>,
    /// Why there is no connection, in words. Empty while there is one, and before the first try.
    trouble: watch::Sender<String>,
    exported: Exported,
}

/// The figures at one moment. They are of this process: after a restart they begin at zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Messages taken, each delivery counted.
    pub received: u64,
    /// Committed for what they say.
    pub appended: u64,
    /// Found in the log already, as a message delivered again is.
    pub duplicate: u64,
    /// Committed as rejected.
    pub rejected: u64,
    /// Taken and not yet committed.
    pub in_flight: u64,
    /// Of those received, how many came with `QoS` 0: nobody delivers them again.
    pub qos0: u64,
    /// Connections that got as far as being subscribed.
    pub connects: u64,
    /// Connections refused, by the broker or by us.
    pub refused: u64,
    /// The same by what stood in the way, in the order of [`Refusal::ALL`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// Appends tried again because the log was not reachable.
    pub retries: u64,
    pub state: State,
}

/// How the bridge stands with its broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    Connecting,
    /// Connected and subscribed.
    Connected,
    /// Not reachable; trying again.
    Unreachable,
    /// Reachable, but it does not want us, or we do not trust it; trying again, slowly.
    Refused,
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        })
    }
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Appended,
    Duplicate,
    Rejected,
}

impl Accounting {
    /// Books for the bridge called `bridge` in the metrics, whose recorder is installed before.
    pub fn new(bridge: &'static str) -> Self {
        Self {
            books: watch::Sender::new(Snapshot::default()),
            trouble: watch::Sender::default(),
            exported: Exported::new(bridge),
        }
    }

    /// Why there is no connection to the broker, if there is none.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.borrow();
        (self.snapshot().state != State::Connected).then(|| match trouble.as_str() {
            "" => "not connected yet".to_owned(),
            trouble => trouble.to_owned(),
        })
    }

    /// The figures now; they balance.
    pub fn snapshot(&self) -> Snapshot {
        *self.books.borrow()
    }

    /// Writes the figures of this moment into the metrics, all of them together.
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
    }

    /// The figures as they change.
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

    /// All of `outcomes` at once: they were committed together.
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

    /// The connection is lost, or there was none.
    pub(super) fn lost(&self, lost: &Lost) {
        self.trouble.send_replace(lost.to_string());
        self.books.send_modify(|books| match lost.refusal() {
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
    fn the_books_balance_and_what_is_not_settled_is_in_flight() {
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
    fn a_refusal_is_counted_by_its_reason_and_told_until_there_is_a_connection() {
        let accounting = Accounting::new("test");
        accounting.lost(&Lost::Refused(rumqttc::ConnectReturnCode::NotAuthorized));
        let books = accounting.snapshot();
        assert_eq!(
            (books.state, books.refused, books.refusals),
            (State::Refused, 1, [1, 0, 0, 0, 0, 0])
        );
        assert!(accounting.trouble().unwrap().contains("NotAuthorized"));
        accounting.lost(&Lost::Timeout);
        assert_eq!(
            (accounting.snapshot().state, accounting.snapshot().refused),
            (State::Unreachable, 1)
        );
        accounting.state(State::Connected);
        assert_eq!(accounting.trouble(), None);
    }
}
