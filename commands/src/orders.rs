//! Orders: what they cost today, whose a SKU is, and fulfilment at work.

use std::collections::HashMap;

use domain::orders::fulfilment::{Dispatch, order_of, react};
use domain::orders::order::{self, Line};
use domain::orders::product::{self, SkuEvent};
use domain::orders::{
    Currency, Event, Order, Product, StockItem, order_stream, product_stream, sku_stream,
    stock_item, stock_stream,
};
use eventsourcing::event::StreamId;
use eventsourcing::{Decider, Recorded};
use eventstore::{EventStore, ExpectedVersion, Feed, NewEvent, StreamAppend};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Handlers;
use crate::handler::{Done, Envelope, Error, Handler, LoadError};
use crate::process::{self, Process, Trouble, following, unless_refused};

/// Adds a product. Its SKU is claimed in the same append: of two products, one gets it.
pub async fn add_product(
    handlers: &Handlers,
    id: Uuid,
    command: product::Command,
    mut envelope: Envelope,
) -> Result<Done, Error<product::Rejection>> {
    let mut claimed = None;
    if let product::Command::Add { sku, .. } = &command {
        let stream = sku_stream(sku);
        let events = vec![NewEvent::new(&SkuEvent::SkuClaimed { product_id: id })?];
        claimed = Some(stream.clone());
        envelope.also.push(StreamAppend { stream, expected: ExpectedVersion::NoStream, events });
    }
    match handlers.products.create(&product_stream(id), command, envelope).await {
        Err(Error::Conflict(stream)) if Some(&stream) == claimed.as_ref() => {
            Err(Error::Rejected(product::Rejection::SkuTaken))
        }
        outcome => outcome,
    }
}

/// Receives or corrects stock of a product, which must be there.
pub async fn move_stock(
    handlers: &Handlers,
    product_id: Uuid,
    command: stock_item::Command,
    envelope: Envelope,
) -> Result<Done, Error<stock_item::Rejection>> {
    let product = handlers.products.load(&product_stream(product_id)).await?.state;
    if product == Product::Unknown {
        return Err(Error::Rejected(stock_item::Rejection::NoProduct));
    }
    handlers.stock.execute(&stock_stream(product_id), command, envelope).await
}

/// Why items cannot be ordered.
#[derive(Debug, thiserror::Error)]
pub enum NotPriced {
    /// Item number `item` names a product that is not there.
    #[error("there is no such product")]
    NoProduct { item: usize },
    #[error(transparent)]
    Failed(#[from] LoadError),
}

/// Order lines at today's names and prices. A product named twice becomes one line.
pub async fn priced(
    handlers: &Handlers,
    items: &[(Uuid, u32)],
) -> Result<Vec<(Line, Currency)>, NotPriced> {
    let mut lines: Vec<(Line, Currency)> = Vec::with_capacity(items.len());
    let mut line_of: HashMap<Uuid, usize> = HashMap::new();
    for (item, &(product_id, quantity)) in items.iter().enumerate() {
        if let Some(&line) = line_of.get(&product_id) {
            lines[line].0.quantity = lines[line].0.quantity.saturating_add(quantity);
            continue;
        }
        match handlers.products.load(&product_stream(product_id)).await?.state {
            Product::Unknown => return Err(NotPriced::NoProduct { item }),
            Product::Listed { sku, name, price, currency } => {
                line_of.insert(product_id, lines.len());
                lines.push((Line { product_id, sku, name, quantity, price }, currency));
            }
        }
    }
    Ok(lines)
}

/// The process manager that moves orders along.
#[derive(Debug)]
pub struct Fulfilment {
    orders: Handler<Order>,
    stock: Handler<StockItem>,
    store: EventStore,
}

impl Fulfilment {
    pub fn new(store: &EventStore) -> Self {
        Self {
            orders: Handler::new(store.clone()),
            stock: Handler::new(store.clone()),
            store: store.clone(),
        }
    }

    /// Moves orders along until `shutdown`.
    pub async fn run(&self, feed: &Feed, shutdown: &CancellationToken) {
        process::run(self, &self.store, feed, shutdown).await;
    }

    /// Cancels an order that was not confirmed in time, if that is still so.
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

    async fn react(&self, event: &Recorded<Event>) -> Result<(), Trouble> {
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
