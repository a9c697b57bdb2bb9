//! The deadlines of orders: a consumer keeps the time at which each pending order expires, and a search
//! expires those that are due. The deadlines are in a table of their own, not in a read model: orders
//! also expire while the read model of orders is rebuilt, is behind, or is not there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use domain::orders::{Order, fulfilment, order, order_stream};
use eventsourcing::{Decider, Metadata, Position, Recorded};
use eventstore::consume::deadline::{self, Deadline};
use eventstore::consume::{self, ConsumeError, Consumer, Failed, Session, Start};
use eventstore::parked::Parked;
use eventstore::{EventStore, Feed, Filter, RawEvent};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::handler::{Envelope, Handler};
use crate::process::{ReactError, unless_refused};

/// Name of the consumer.
pub const NAME: &str = "order_deadlines";
/// Most orders that one search expires.
const EXPIRE_AT_ONCE: i64 = 500;
/// Wait in seconds before an order that could not be expired is tried again.
const RETRY_AFTER: i64 = 10;

/// Keeps the deadlines of orders, and expires the orders that are due.
#[derive(Debug)]
pub struct OrderDeadlines {
    orders: Handler<Order>,
    store: EventStore,
}

impl OrderDeadlines {
    /// Makes the keeper of deadlines.
    pub fn new(store: &EventStore) -> Self {
        Self { orders: Handler::new(store.clone()), store: store.clone() }
    }

    /// Follows the orders until `shutdown`.
    pub async fn run(&self, feed: &Feed, shutdown: &CancellationToken) {
        consume::run(&mut Changes::default(), &self.store, feed, shutdown).await;
    }

    /// Cancels the orders that were not confirmed by their deadline, at most 500. An order that has
    /// moved on stays as it is. An order that cannot be loaded delays no other.
    pub async fn expire_due(&self, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let pool = self.store.pool();
        for due in deadline::due(pool, NAME, now, EXPIRE_AT_ONCE).await? {
            match self.expire(&due, now).await {
                Ok(()) => deadline::remove(pool, NAME, &due.key).await?,
                Err(error) => {
                    tracing::warn!(order = due.key, %error, "order not expired, retrying");
                    let until = now + TimeDelta::seconds(RETRY_AFTER);
                    deadline::postpone(pool, NAME, &due.key, until).await?;
                }
            }
        }
        Ok(())
    }

    async fn expire(&self, due: &Deadline, now: DateTime<Utc>) -> Result<(), ReactError> {
        let Ok(id) = Uuid::parse_str(&due.key) else {
            return Ok(()); // No order has such a key.
        };
        let metadata = Metadata { actor: Some(fulfilment::NAME.into()), ..due.metadata.clone() };
        let envelope = Envelope { metadata, ..Envelope::default() };
        let stream = order_stream(id);
        let outcome = self.orders.execute(&stream, order::Command::Expire { now }, envelope).await;
        match outcome {
            Err(error @ Error::Rejected(order::Rejection::NotDue)) => {
                Err(ReactError::Passing(error.to_string()))
            }
            outcome => unless_refused(NAME, &stream, outcome),
        }
    }
}

/// The changes of a batch. An order has either a deadline or none after it.
#[derive(Debug, Default)]
struct Changes {
    set: HashMap<String, Deadline>,
    met: HashSet<String>,
}

impl Changes {
    fn apply(&mut self, event: Recorded<order::Event>) {
        let key = event.stream.key().to_owned();
        match event.event {
            order::Event::OrderPlaced(placed) => {
                let metadata = Metadata {
                    correlation_id: event.metadata.correlation_id.or(Some(event.id)),
                    causation_id: Some(event.id),
                    ..event.metadata
                };
                let due_at = placed.reserve_until;
                self.set.insert(key.clone(), Deadline { key, due_at, metadata });
            }
            order::Event::OrderConfirmed {}
            | order::Event::OrderCancelled { .. }
            | order::Event::OrderShipped {} => {
                self.set.remove(&key);
                self.met.insert(key);
            }
        }
    }
}

impl Consumer for Changes {
    const NAME: &'static str = NAME;
    const BATCH_EVENTS: usize = 2_000;
    /// Orders that are pending when a build with deadlines starts first have theirs, too.
    const START: Start = Start::FirstEvent;

    fn filter(&self) -> Filter {
        Filter::categories(&[Order::CATEGORY])
    }

    fn knows(&self, event: &RawEvent) -> bool {
        event.is_known::<order::Event>()
    }

    async fn open(&mut self, store: &EventStore, _: Position) -> Result<Session, ConsumeError> {
        *self = Self::default();
        Ok(Session::Pool(store.pool().clone()))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        let mut failed: HashMap<&str, Failed> = HashMap::new();
        for raw in events.iter().map(Arc::as_ref) {
            if failed.contains_key(raw.stream.as_str()) {
                continue;
            }
            match raw.decode() {
                Ok(event) => self.apply(event),
                Err(error) => {
                    failed.insert(raw.stream.as_str(), Failed::undecodable(raw, &error));
                }
            }
        }
        Ok(failed.into_values().collect())
    }

    async fn commit(&mut self, connection: &mut PgConnection) -> Result<(), ConsumeError> {
        let Self { set, met } = std::mem::take(self);
        // Two processes that write at once lock rows in the same order.
        let mut set: Vec<_> = set.into_values().collect();
        set.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        let mut met: Vec<_> = met.into_iter().collect();
        met.sort_unstable();
        Ok(deadline::write(connection, NAME, &set, &met).await?)
    }
}

#[cfg(test)]
mod tests {
    use domain::orders::order::{Event, Line, Placed, Reason};
    use domain::orders::{Currency, Price};
    use eventsourcing::Version;

    use super::*;

    fn recorded(order: u128, event: Event) -> Recorded<Event> {
        Recorded {
            position: Position(1),
            id: Uuid::from_u128(77),
            stream: order_stream(Uuid::from_u128(order)),
            version: Version(1),
            recorded_at: DateTime::UNIX_EPOCH,
            metadata: Metadata { actor: Some("ada".into()), ..Metadata::default() },
            event,
        }
    }

    #[test]
    fn a_pending_order_has_a_deadline_and_others_have_none() {
        let sku = "HAT-1".to_owned().try_into().unwrap();
        let price = Price::parse("1").unwrap();
        let line = Line { product_id: Uuid::nil(), sku, name: "Hat".into(), quantity: 1, price };
        let lines = vec![(line, Currency::parse("EUR").unwrap())];
        let due_at = DateTime::UNIX_EPOCH + TimeDelta::seconds(60);
        let placed = Placed::new(Uuid::nil(), lines, due_at).unwrap();
        let mut changes = Changes::default();
        changes.apply(recorded(1, Event::OrderPlaced(placed.clone())));
        changes.apply(recorded(2, Event::OrderPlaced(placed)));
        changes.apply(recorded(2, Event::OrderConfirmed {}));
        changes.apply(recorded(3, Event::OrderCancelled { reason: Reason::Expired }));
        let keys = [1, 2, 3].map(|order| Uuid::from_u128(order).to_string());
        assert_eq!(changes.met, HashSet::from([keys[1].clone(), keys[2].clone()]));
        let [(key, deadline)] = Vec::from_iter(changes.set).try_into().unwrap();
        assert_eq!((&key, deadline.due_at), (&keys[0], due_at));
        let event = Some(Uuid::from_u128(77));
        assert_eq!(
            (deadline.metadata.correlation_id, deadline.metadata.causation_id),
            (event, event)
        );
    }
}
