//! The process manager of orders: reserves stock, confirms, cancels and releases.

use domain::orders::fulfilment::{Cause, Dispatch, NAME, order_of, react};
use domain::orders::{Event, Order, StockItem, order_stream};
use eventsourcing::event::StreamId;
use eventsourcing::{Decider, Recorded};
use eventstore::consume::Start;
use eventstore::{EventStore, ExpectedVersion, Feed, StreamAppend};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Error, LoadError};
use crate::handler::Handler;
use crate::process::{self, Process, ReactError, following, unless_refused};

/// Most reactions to one event: each one but the last met a change of the order.
const MAX_ATTEMPTS: usize = 16;

/// The process manager of orders.
#[derive(Debug)]
pub struct Fulfilment {
    orders: Handler<Order>,
    stock: Handler<StockItem>,
    store: EventStore,
}

impl Fulfilment {
    /// Makes the process manager.
    pub fn new(store: &EventStore) -> Self {
        Self {
            orders: Handler::new(store.clone()),
            stock: Handler::new(store.clone()),
            store: store.clone(),
        }
    }

    /// Runs until `shutdown`.
    pub async fn run(&self, feed: &Feed, shutdown: &CancellationToken) {
        process::run(self, &self.store, feed, shutdown).await;
    }

    /// Executes the commands that follow from `event` in the current state of its order. Returns false
    /// if the order has changed before stock was reserved for it.
    async fn act(&self, event: &Recorded<Event>, cause: Cause<'_>) -> Result<bool, ReactError> {
        let stream = order_stream(cause.order_id);
        let order = self.orders.load(&stream).await?;
        let now = self.store.now().await.map_err(LoadError::from)?;
        for dispatch in react(cause, &order.state, now) {
            let target = dispatch.target();
            let mut envelope = following(NAME, event, &target, &dispatch.content());
            if dispatch.is_reservation() {
                envelope.also.push(StreamAppend {
                    stream: stream.clone(),
                    expected: ExpectedVersion::Exact(order.version),
                    events: Vec::new(),
                });
            }
            match dispatch {
                Dispatch::Order(_, command) => {
                    let outcome = self.orders.execute(&target, command, envelope).await;
                    unless_refused(NAME, &target, outcome)?;
                }
                Dispatch::Stock(_, command) => {
                    match self.stock.execute(&target, command, envelope).await {
                        Err(Error::Conflict(changed)) if changed == stream => return Ok(false),
                        outcome => unless_refused(NAME, &target, outcome)?,
                    }
                }
            }
        }
        Ok(true)
    }
}

impl Process for Fulfilment {
    const NAME: &'static str = NAME;
    const CATEGORIES: &'static [&'static str] = &[Order::CATEGORY, StockItem::CATEGORY];
    /// Orders may have been placed before the first worker started.
    const START: Start = Start::FirstEvent;
    type Event = Event;

    fn concerns(event: &Recorded<Event>) -> Option<StreamId> {
        order_of(&event.event, event.stream.key()).map(order_stream)
    }

    async fn react(&self, event: &Recorded<Event>) -> Result<(), ReactError> {
        let Some(order_id) = order_of(&event.event, event.stream.key()) else {
            return Ok(());
        };
        let product = Uuid::parse_str(event.stream.key()).ok();
        let cause = Cause { event: &event.event, order_id, product };
        for _ in 0..MAX_ATTEMPTS {
            if self.act(event, cause).await? {
                return Ok(());
            }
        }
        Err(ReactError::Passing(format!("order {order_id} keeps changing")))
    }
}
