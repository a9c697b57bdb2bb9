//! The process manager of orders: reserves stock, confirms, cancels and releases.

use domain::orders::fulfilment::{Dispatch, order_of, react};
use domain::orders::{Event, Order, StockItem, order, order_stream, stock_stream};
use eventsourcing::event::StreamId;
use eventsourcing::{Decider, Recorded};
use eventstore::{EventStore, Feed};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::handler::{Envelope, Handler};
use crate::process::{self, Process, ReactError, following, unless_refused};

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

    /// Cancels an order that was not confirmed by its deadline. An order that has moved on stays as it is.
    pub async fn expire(
        &self,
        id: Uuid,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), Error<order::Rejection>> {
        let metadata = eventsourcing::Metadata {
            actor: Some(Self::NAME.into()),
            ..eventsourcing::Metadata::default()
        };
        let envelope = Envelope { metadata, ..Envelope::default() };
        let command = order::Command::Expire { now };
        match self.orders.execute(&order_stream(id), command, envelope).await {
            Ok(_) | Err(Error::Rejected(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Process for Fulfilment {
    const NAME: &'static str = "fulfilment";
    const CATEGORIES: &'static [&'static str] = &[Order::CATEGORY, StockItem::CATEGORY];
    type Event = Event;

    fn concerns(event: &Recorded<Event>) -> Option<StreamId> {
        order_of(&event.event, event.stream.key()).map(order_stream)
    }

    async fn react(&self, event: &Recorded<Event>) -> Result<(), ReactError> {
        let Some(id) = order_of(&event.event, event.stream.key()) else {
            return Ok(());
        };
        let order = self.orders.load(&order_stream(id)).await?.state;
        let product = Uuid::parse_str(event.stream.key()).ok();
        for (number, dispatch) in react(&event.event, id, product, &order).into_iter().enumerate() {
            let envelope = following(Self::NAME, event, number);
            match dispatch {
                Dispatch::Order(command) => {
                    let stream = order_stream(id);
                    unless_refused(self.orders.execute(&stream, command, envelope).await)?;
                }
                Dispatch::Stock(product, command) => {
                    let stream = stock_stream(product);
                    unless_refused(self.stock.execute(&stream, command, envelope).await)?;
                }
            }
        }
        Ok(())
    }
}
