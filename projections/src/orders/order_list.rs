//! Orders: status, items, total, and their history with times.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::orders::order::{self, Placed};
use domain::orders::{Event, Order, StockItem, stock_item};
use eventsourcing::{Decider, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::{
    CancelReason, CancelReasonName, HistoryEvent, HistoryEventName, Status, StatusName,
};
use crate::by_name::{ByName, Named};
use crate::columns::Columns;
use crate::list::{CREATED, Key, Page, Section};
use crate::projection::Projection;

/// The read model of orders.
#[derive(Debug)]
pub struct OrderList;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    /// New orders as they were placed, and when each expires.
    placed: Vec<(OrderRow, DateTime<Utc>)>,
    updates: HashMap<Uuid, Update>,
    /// Order, position of the event, and the entry.
    history: Vec<(Uuid, i64, HistoryEntry)>,
}

/// An order after the last event of the batch.
#[derive(Debug, PartialEq, Eq)]
struct Update {
    status: Status,
    reason: Option<CancelReason>,
    at: DateTime<Utc>,
    version: i64,
}

impl Projection for OrderList {
    const NAME: &'static str = "order_list";
    /// 2 changed indexes, 3 added the available pieces of a refusal.
    const VERSION: i32 = 3;
    const CATEGORIES: &'static [&'static str] = &[Order::CATEGORY, StockItem::CATEGORY];
    const DDL: &'static str = include_str!("order_list.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // Keys of these categories are ids: the deciders' streams are named that way only.
        let Ok(key) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        match &event.event {
            Event::Order(order) => changes.order(key, &event, order),
            Event::Stock(stock) => changes.stock(key, &event, stock),
            Event::Product(_) | Event::Sku(_) => {}
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let items = |row: &OrderRow| {
            serde_json::to_string(&row.items).expect("a list of plain fields is always JSON")
        };
        Columns::of(&changes.placed)
            .column("id", |(row, _)| row.id)
            .column("customer_id", |(row, _)| row.customer_id)
            .column("status", |(row, _)| row.status.0.name())
            .column("currency", |(row, _)| row.currency.as_str())
            .column("total", |(row, _)| row.total.as_str())
            .cast("items", "json", |(row, _)| items(row))
            .column("reserve_until", |(_, reserve_until)| *reserve_until)
            .column("created_at", |(row, _)| row.created_at)
            .column("updated_at", |(row, _)| row.updated_at)
            .column("version", |(row, _)| row.version)
            .insert("purchase", "", connection)
            .await?;
        let updates: Vec<_> = changes.updates.into_iter().collect();
        Columns::of(&updates)
            .column("id", |(id, _)| *id)
            .column("status", |(_, update)| update.status.name())
            .column("reason", |(_, update)| update.reason.map(Named::name))
            .column("at", |(_, update)| update.at)
            .column("version", |(_, update)| update.version)
            .execute(
                "update purchase as p set
                   status = n.status, reason = n.reason, updated_at = n.at, version = n.version,
                   reserve_until = null
                 from {n} where p.id = n.id",
                connection,
            )
            .await?;
        Columns::of(&changes.history)
            .column("order_id", |(order_id, ..)| *order_id)
            .column("position", |(_, position, _)| *position)
            .column("at", |(.., entry)| entry.at)
            .column("event", |(.., entry)| entry.event.0.name())
            .column("product_id", |(.., entry)| entry.product_id)
            .column("quantity", |(.., entry)| entry.quantity)
            .column("available", |(.., entry)| entry.available)
            .insert("history", "", connection)
            .await
    }
}

impl Changes {
    fn order(&mut self, id: Uuid, recorded: &Recorded<Event>, event: &order::Event) {
        let (at, version) = (recorded.recorded_at, recorded.version.0);
        let (status, reason, entry) = match event {
            order::Event::OrderPlaced(placed) => {
                self.placed.push((OrderRow::placed(id, placed, at), placed.reserve_until));
                self.history.push((id, recorded.position.0, HistoryEntry::placed(at)));
                return;
            }
            order::Event::OrderConfirmed {} => (Status::Confirmed, None, HistoryEvent::Confirmed),
            order::Event::OrderCancelled { reason } => {
                (Status::Cancelled, Some(reason.into()), HistoryEvent::Cancelled)
            }
            order::Event::OrderShipped {} => (Status::Shipped, None, HistoryEvent::Shipped),
        };
        self.updates.insert(id, Update { status, reason, at, version });
        let entry = HistoryEntry { event: ByName(entry), ..HistoryEntry::placed(at) };
        self.history.push((id, recorded.position.0, entry));
    }

    fn stock(&mut self, product: Uuid, recorded: &Recorded<Event>, event: &stock_item::Event) {
        let (order_id, event, quantity, available) = match event {
            stock_item::Event::StockReceived { .. } | stock_item::Event::StockCorrected { .. } => {
                return;
            }
            stock_item::Event::StockReserved { order_id, quantity } => {
                (*order_id, HistoryEvent::StockReserved, *quantity, None)
            }
            stock_item::Event::StockRefused { order_id, quantity, available } => {
                (*order_id, HistoryEvent::StockRefused, *quantity, i64::try_from(*available).ok())
            }
            stock_item::Event::StockReleased { order_id, quantity } => {
                (*order_id, HistoryEvent::StockReleased, *quantity, None)
            }
            stock_item::Event::StockShipped { order_id, quantity } => {
                (*order_id, HistoryEvent::StockShipped, *quantity, None)
            }
        };
        let entry = HistoryEntry {
            at: recorded.recorded_at,
            event: ByName(event),
            product_id: Some(product),
            quantity: Some(quantity.into()),
            available,
        };
        self.history.push((order_id, recorded.position.0, entry));
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Order)]
pub struct OrderRow {
    /// Id of the order.
    pub id: Uuid,
    /// User who placed the order.
    pub customer_id: Uuid,
    /// Status of the order.
    pub status: StatusName,
    /// Why it was cancelled; null unless it was.
    pub reason: Option<CancelReasonName>,
    /// Lines of the order, one per product.
    #[sqlx(json)]
    pub items: Vec<Item>,
    /// Sum over all items, decimal.
    pub total: String,
    /// ISO 4217.
    pub currency: String,
    /// Time the order was placed.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the status.
    pub updated_at: DateTime<Utc>,
    /// Events of the order and of the stock of its products, oldest first.
    #[sqlx(json)]
    pub history: Vec<HistoryEntry>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

impl OrderRow {
    /// An order right after it was placed.
    pub fn placed(id: Uuid, placed: &Placed, at: DateTime<Utc>) -> Self {
        Self {
            id,
            customer_id: placed.customer_id,
            status: ByName(Status::Pending),
            reason: None,
            items: placed.lines.iter().map(Item::from).collect(),
            total: placed.total.to_string(),
            currency: placed.currency.to_string(),
            created_at: at,
            updated_at: at,
            history: vec![HistoryEntry::placed(at)],
            version: 1,
        }
    }
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderItem)]
pub struct Item {
    /// Id of the product.
    pub product_id: Uuid,
    /// SKU of the product.
    pub sku: String,
    /// Name of the product at the time of the order.
    pub name: String,
    /// Pieces.
    pub quantity: u32,
    /// Unit price at the time of the order, decimal.
    pub price: String,
}

impl From<&order::Line> for Item {
    fn from(line: &order::Line) -> Self {
        Self {
            product_id: line.product_id,
            sku: line.sku.to_string(),
            name: line.name.clone(),
            quantity: line.quantity,
            price: line.price.to_string(),
        }
    }
}

/// An event in the history of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderHistoryEntry)]
pub struct HistoryEntry {
    /// Time of the event.
    pub at: DateTime<Utc>,
    /// What happened.
    pub event: HistoryEventName,
    /// The product of a stock event; null for other events.
    pub product_id: Option<Uuid>,
    /// Pieces, of a refusal those that were wanted; null unless it is a stock event.
    pub quantity: Option<i64>,
    /// Pieces that were available at a refusal; null for other events.
    pub available: Option<i64>,
}

impl HistoryEntry {
    fn placed(at: DateTime<Utc>) -> Self {
        let event = ByName(HistoryEvent::Placed);
        Self { at, event, product_id: None, quantity: None, available: None }
    }
}

/// Conditions on orders; `None` is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// User who placed the order.
    pub customer_id: Option<Uuid>,
    /// Status of the order.
    pub status: Option<Status>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, customer_id, status, reason, items, total, currency, created_at,
                    updated_at, version,
                    (select coalesce(json_agg(json_build_object(
                              'at', h.at, 'event', h.event, 'product_id', h.product_id,
                              'quantity', h.quantity, 'available', h.available)
                              order by h.position), '[]')
                     from order_list.history h where h.order_id = p.id) as history
             from ",
            $rest
        )
    };
}

/// Returns the order of this id.
pub async fn order(pool: &PgPool, id: Uuid) -> Result<Option<OrderRow>, sqlx::Error> {
    sqlx::query_as(select!("order_list.purchase p where id = $1"))
        .bind(id)
        .fetch_optional(pool)
        .await
}

/// Lists orders, newest first, after the cursor `after`: time of creation and id of the last one seen.
pub async fn orders(
    pool: &PgPool,
    filter: &OrderFilter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<OrderRow>, sqlx::Error> {
    let statuses = filter.status.as_ref().map_or(Status::ALL, std::slice::from_ref);
    let mut query = QueryBuilder::new(select!("unnest("));
    query.push_bind(statuses.iter().map(|status| status.name()).collect::<Vec<_>>());
    query.push(
        ") as each (value) cross join lateral (
           select * from order_list.purchase where true",
    );
    let section = Section::default()
        .by_some("customer_id", filter.customer_id.map(Key::Uuid))
        .by("status", Key::Sql("each.value"));
    section.newest_first(&mut query, CREATED, &Page { after, limit, ..Page::default() });
    query.push(") p order by created_at desc, id desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, fold};
    use domain::orders::order::Reason;
    use domain::orders::{order_stream, stock_stream};

    fn placed() -> Placed {
        let line = order::Line {
            product_id: Uuid::from_u128(9),
            sku: "HAT-1".to_owned().try_into().unwrap(),
            name: "Hat".into(),
            quantity: 2,
            price: "9.90".to_owned().try_into().unwrap(),
        };
        let currency = "EUR".to_owned().try_into().unwrap();
        Placed::new(Uuid::from_u128(3), vec![(line, currency)], at(60)).unwrap()
    }

    #[test]
    fn an_order_and_its_stock_make_one_history() {
        let (id, product) = (Uuid::from_u128(1), Uuid::from_u128(9));
        let reserved = stock_item::Event::StockReserved { order_id: id, quantity: 2 };
        let changes = fold::<OrderList>([
            (order_stream(id), Event::Order(order::Event::OrderPlaced(placed()))),
            (stock_stream(product), Event::Stock(reserved)),
            (order_stream(id), Event::Order(order::Event::OrderConfirmed {})),
        ]);
        let row = OrderRow::placed(id, &placed(), at(1));
        assert_eq!((row.total.as_str(), row.status.0), ("19.80", Status::Pending));
        assert_eq!(changes.placed, [(row, at(60))]);
        let confirmed = Update { status: Status::Confirmed, reason: None, at: at(3), version: 2 };
        assert_eq!(changes.updates, HashMap::from([(id, confirmed)]));
        let history: Vec<_> = changes
            .history
            .iter()
            .map(|(order, position, entry)| (*order, *position, entry.event.0, entry.quantity))
            .collect();
        let expected = [
            (id, 1, HistoryEvent::Placed, None),
            (id, 2, HistoryEvent::StockReserved, Some(2)),
            (id, 3, HistoryEvent::Confirmed, None),
        ];
        assert_eq!(history, expected);
    }

    #[test]
    fn a_cancelled_order_keeps_the_code_of_its_reason() {
        let (id, product_id) = (Uuid::from_u128(1), Uuid::from_u128(9));
        let reason = Reason::OutOfStock { product_id, wanted: 2, available: 1 };
        let cancelled = Event::Order(order::Event::OrderCancelled { reason });
        let changes = fold::<OrderList>([(order_stream(id), cancelled)]);
        assert_eq!(changes.updates[&id].status, Status::Cancelled);
        assert_eq!(changes.updates[&id].reason, Some(CancelReason::OutOfStock));
    }
}
