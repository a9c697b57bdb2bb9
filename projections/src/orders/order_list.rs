//! Orders: status, items, total, and everything that happened to them, with times.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::orders::order::{self, Placed};
use domain::orders::{Event, Order, StockItem, stock_item};
use eventsourcing::{Decider, Recorded};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of orders.
#[derive(Debug)]
pub struct OrderList;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    placed: Vec<(Uuid, DateTime<Utc>, Placed)>,
    updates: HashMap<Uuid, Update>,
    history: Vec<(Uuid, i64, HistoryEntry)>,
}

/// The last that was said of an order.
#[derive(Debug)]
struct Update {
    status: &'static str,
    reason: Option<&'static str>,
    at: DateTime<Utc>,
    version: i64,
}

impl Projection for OrderList {
    const NAME: &'static str = "order_list";
    const CATEGORIES: &'static [&'static str] = &[Order::CATEGORY, StockItem::CATEGORY];
    const DDL: &'static str = include_str!("order_list.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // The store gives these streams no other keys.
        let Ok(key) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        match &event.event {
            Event::Order(said) => changes.order(key, &event, said),
            Event::Stock(said) => changes.stock(key, &event, said),
            Event::Product(_) | Event::Sku(_) => {}
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.placed.is_empty() {
            insert(&changes.placed, connection).await?;
        }
        if !changes.updates.is_empty() {
            update(&changes.updates, connection).await?;
        }
        if !changes.history.is_empty() {
            remember(&changes.history, connection).await?;
        }
        Ok(())
    }
}

impl Changes {
    fn order(&mut self, id: Uuid, event: &Recorded<Event>, said: &order::Event) {
        let (status, reason) = match said {
            order::Event::OrderPlaced(placed) => {
                self.placed.push((id, event.recorded_at, placed.clone()));
                self.remember(id, event, "placed", None);
                return;
            }
            order::Event::OrderConfirmed {} => ("confirmed", None),
            order::Event::OrderCancelled { reason } => ("cancelled", Some(reason.code())),
            order::Event::OrderShipped {} => ("shipped", None),
        };
        let (at, version) = (event.recorded_at, event.version.0);
        self.updates.insert(id, Update { status, reason, at, version });
        self.remember(id, event, status, None);
    }

    fn stock(&mut self, product: Uuid, event: &Recorded<Event>, said: &stock_item::Event) {
        let (order_id, what, quantity) = match said {
            stock_item::Event::StockReceived { .. } | stock_item::Event::StockCorrected { .. } => {
                return;
            }
            stock_item::Event::StockReserved { order_id, quantity } => {
                (*order_id, "stock_reserved", *quantity)
            }
            stock_item::Event::StockRefused { order_id, quantity, .. } => {
                (*order_id, "stock_refused", *quantity)
            }
            stock_item::Event::StockReleased { order_id, quantity } => {
                (*order_id, "stock_released", *quantity)
            }
            stock_item::Event::StockShipped { order_id, quantity } => {
                (*order_id, "stock_shipped", *quantity)
            }
        };
        self.remember(order_id, event, what, Some((product, quantity)));
    }

    fn remember(
        &mut self,
        order_id: Uuid,
        event: &Recorded<Event>,
        what: &str,
        about: Option<(Uuid, u32)>,
    ) {
        let entry = HistoryEntry {
            at: event.recorded_at,
            event: what.to_owned(),
            product_id: about.map(|(product, _)| product),
            quantity: about.map(|(_, quantity)| quantity.into()),
        };
        self.history.push((order_id, event.position.0, entry));
    }
}

async fn insert(
    placed: &[(Uuid, DateTime<Utc>, Placed)],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let items = |placed: &Placed| {
        let items = placed.lines.iter().map(Item::from).collect::<Vec<_>>();
        serde_json::to_string(&items).expect("a list of plain fields is always JSON")
    };
    sqlx::query(
        "insert into purchase (id, customer_id, status, currency, total, items, reserve_until,
                               created_at, updated_at, version)
         select id, customer_id, 'pending', currency, total, items::json, reserve_until, at, at, 1
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[], $7::timestamptz[])
           as n (id, customer_id, currency, total, items, reserve_until, at)",
    )
    .bind(placed.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(placed.iter().map(|(.., placed)| placed.customer_id).collect::<Vec<_>>())
    .bind(placed.iter().map(|(.., placed)| placed.currency.to_string()).collect::<Vec<_>>())
    .bind(placed.iter().map(|(.., placed)| placed.total.to_string()).collect::<Vec<_>>())
    .bind(placed.iter().map(|(.., placed)| items(placed)).collect::<Vec<_>>())
    .bind(placed.iter().map(|(.., placed)| placed.reserve_until).collect::<Vec<_>>())
    .bind(placed.iter().map(|(_, at, _)| *at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update purchase as p set
           status = n.status, reason = n.reason, updated_at = n.at, version = n.version,
           reserve_until = null
         from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
           as n (id, status, reason, at, version)
         where p.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.status).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.reason).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.at).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn remember(
    history: &[(Uuid, i64, HistoryEntry)],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into history (order_id, position, at, event, product_id, quantity)
         select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[], $5::uuid[],
                              $6::bigint[])",
    )
    .bind(history.iter().map(|(order_id, ..)| *order_id).collect::<Vec<_>>())
    .bind(history.iter().map(|(_, position, _)| *position).collect::<Vec<_>>())
    .bind(history.iter().map(|(.., entry)| entry.at).collect::<Vec<_>>())
    .bind(history.iter().map(|(.., entry)| entry.event.as_str()).collect::<Vec<_>>())
    .bind(history.iter().map(|(.., entry)| entry.product_id).collect::<Vec<_>>())
    .bind(history.iter().map(|(.., entry)| entry.quantity).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Order)]
pub struct OrderRow {
    pub id: Uuid,
    pub customer_id: Uuid,
    /// `pending`, `confirmed`, `shipped` or `cancelled`.
    pub status: String,
    /// Why it was cancelled: `out_of_stock`, `requested` or `expired`.
    pub reason: Option<String>,
    #[sqlx(json)]
    pub items: Vec<Item>,
    /// Of all items; a decimal number.
    pub total: String,
    pub currency: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// What happened to it, oldest first.
    #[sqlx(json)]
    pub history: Vec<HistoryEntry>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderItem)]
pub struct Item {
    pub product_id: Uuid,
    pub sku: String,
    pub name: String,
    pub quantity: u32,
    /// Of one piece, when it was ordered; a decimal number.
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

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderHistoryEntry)]
pub struct HistoryEntry {
    pub at: DateTime<Utc>,
    /// `placed`, `stock_reserved`, `stock_refused`, `confirmed`, `cancelled`, `stock_released`,
    /// `shipped` or `stock_shipped`.
    pub event: String,
    /// Whose stock it was about.
    pub product_id: Option<Uuid>,
    /// Pieces.
    pub quantity: Option<i64>,
}

/// Which orders are asked for; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    pub customer_id: Option<Uuid>,
    pub status: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, customer_id, status, reason, items, total, currency, created_at,
                    updated_at, version,
                    (select coalesce(json_agg(json_build_object(
                              'at', h.at, 'event', h.event, 'product_id', h.product_id,
                              'quantity', h.quantity) order by h.position), '[]')
                     from order_list.history h where h.order_id = p.id) as history
             from order_list.purchase p ",
            $rest
        )
    };
}

/// One order.
pub async fn order(pool: &PgPool, id: Uuid) -> Result<Option<OrderRow>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// Orders, newest first, after the one that was created at `after` and has that id.
pub async fn orders(
    pool: &PgPool,
    filter: &OrderFilter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<OrderRow>, sqlx::Error> {
    sqlx::query_as(select!(
        "where ($1::uuid is null or customer_id = $1) and ($2::text is null or status = $2)
           and ($3::timestamptz is null or (created_at, id) < ($3, $4))
         order by created_at desc, id desc limit $5"
    ))
    .bind(filter.customer_id)
    .bind(&filter.status)
    .bind(after.map(|(created_at, _)| created_at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Orders that were not confirmed by `now`, longest due first.
pub async fn expired(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select id from order_list.purchase where reserve_until <= $1
         order by reserve_until limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(pool)
    .await
}
