//! Products at today's price, with what is available, reserved and shipped of each.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::orders::{Event, Product, StockItem, product, stock_item};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of products and stock.
#[derive(Debug)]
pub struct StockLevel;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    added: HashMap<Uuid, ProductRow>,
    changed: HashMap<Uuid, Change>,
    moved: HashMap<Uuid, Moved>,
}

/// What later events say of a product; what they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Change {
    name: Option<String>,
    price: Option<String>,
    at: DateTime<Utc>,
    version: i64,
}

/// By how much the stock of a product changed.
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    received: i64,
    available: i64,
    reserved: i64,
    shipped: i64,
    at: DateTime<Utc>,
}

impl Projection for StockLevel {
    const NAME: &'static str = "stock_level";
    const CATEGORIES: &'static [&'static str] = &[Product::CATEGORY, StockItem::CATEGORY];
    const DDL: &'static str = include_str!("stock_level.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // The store gives these streams no other keys.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        match &event.event {
            Event::Product(said) => changes.product(id, &event, said),
            Event::Stock(said) => changes.stock(id, &event, said),
            Event::Order(_) | Event::Sku(_) => {}
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.added.is_empty() {
            add(&changes.added, connection).await?;
        }
        if !changes.changed.is_empty() {
            change(&changes.changed, connection).await?;
        }
        if !changes.moved.is_empty() {
            movements(&changes.moved, connection).await?;
        }
        Ok(())
    }
}

impl Changes {
    fn product(&mut self, id: Uuid, event: &Recorded<Event>, said: &product::Event) {
        match said {
            product::Event::ProductAdded { sku, name, price, currency } => {
                let row = ProductRow {
                    id,
                    sku: sku.to_string(),
                    name: name.clone(),
                    price: price.to_string(),
                    currency: currency.to_string(),
                    stock: Stock::default(),
                    created_at: event.recorded_at,
                    updated_at: event.recorded_at,
                    version: event.version.0,
                };
                self.added.insert(id, row);
            }
            product::Event::ProductChanged { name, price } => {
                let change = self.changed.entry(id).or_default();
                change.name = name.clone().or(change.name.take());
                change.price = price.map(|price| price.to_string()).or(change.price.take());
                change.at = event.recorded_at;
                change.version = event.version.0;
            }
        }
    }

    fn stock(&mut self, id: Uuid, event: &Recorded<Event>, said: &stock_item::Event) {
        let moved = self.moved.entry(id).or_default();
        moved.at = event.recorded_at;
        match said {
            stock_item::Event::StockReceived { quantity, .. } => {
                moved.received += i64::from(*quantity);
                moved.available += i64::from(*quantity);
            }
            stock_item::Event::StockCorrected { quantity, .. } => {
                moved.received -= i64::from(*quantity);
                moved.available -= i64::from(*quantity);
            }
            stock_item::Event::StockReserved { quantity, .. } => {
                moved.available -= i64::from(*quantity);
                moved.reserved += i64::from(*quantity);
            }
            stock_item::Event::StockRefused { .. } => {}
            stock_item::Event::StockReleased { quantity, .. } => {
                moved.reserved -= i64::from(*quantity);
                moved.available += i64::from(*quantity);
            }
            stock_item::Event::StockShipped { quantity, .. } => {
                moved.reserved -= i64::from(*quantity);
                moved.shipped += i64::from(*quantity);
            }
        }
    }
}

async fn add(
    added: &HashMap<Uuid, ProductRow>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn column<T>(added: &HashMap<Uuid, ProductRow>, of: impl Fn(&ProductRow) -> T) -> Vec<T> {
        added.values().map(of).collect()
    }
    sqlx::query(
        "insert into product (id, sku, name, price, currency, created_at, updated_at, version)
         select id, sku, name, price, currency, at, at, version
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[], $7::bigint[])
           as n (id, sku, name, price, currency, at, version)",
    )
    .bind(column(added, |row| row.id))
    .bind(column(added, |row| row.sku.clone()))
    .bind(column(added, |row| row.name.clone()))
    .bind(column(added, |row| row.price.clone()))
    .bind(column(added, |row| row.currency.clone()))
    .bind(column(added, |row| row.created_at))
    .bind(column(added, |row| row.version))
    .execute(connection)
    .await?;
    Ok(())
}

async fn change(
    changed: &HashMap<Uuid, Change>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update product as p set
           name = coalesce(n.name, p.name), price = coalesce(n.price, p.price),
           updated_at = n.at, version = n.version
         from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[])
           as n (id, name, price, at, version)
         where p.id = n.id",
    )
    .bind(changed.keys().copied().collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.name.as_deref()).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.price.as_deref()).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.at).collect::<Vec<_>>())
    .bind(changed.values().map(|change| change.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn movements(
    moved: &HashMap<Uuid, Moved>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let column = |of: fn(&Moved) -> i64| moved.values().map(of).collect::<Vec<_>>();
    // Not an upsert: the row that is proposed must hold by itself what the table's checks say, and
    // a change alone does not. A product new to stock starts from nothing.
    sqlx::query(
        "merge into stock as s
         using unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                      $6::timestamptz[])
           as n (product_id, received, available, reserved, shipped, at)
         on s.product_id = n.product_id
         when matched then update set
           received = s.received + n.received, available = s.available + n.available,
           reserved = s.reserved + n.reserved, shipped = s.shipped + n.shipped, updated_at = n.at
         when not matched then
           insert (product_id, received, available, reserved, shipped, updated_at)
           values (n.product_id, n.received, n.available, n.reserved, n.shipped, n.at)",
    )
    .bind(moved.keys().copied().collect::<Vec<_>>())
    .bind(column(|moved| moved.received))
    .bind(column(|moved| moved.available))
    .bind(column(|moved| moved.reserved))
    .bind(column(|moved| moved.shipped))
    .bind(moved.values().map(|moved| moved.at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A product and its stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Product)]
pub struct ProductRow {
    pub id: Uuid,
    pub sku: String,
    pub name: String,
    /// Of one piece, today; a decimal number.
    pub price: String,
    /// ISO 4217.
    pub currency: String,
    #[sqlx(flatten)]
    pub stock: Stock,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// Pieces of a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow, ToSchema)]
pub struct Stock {
    /// Can be ordered.
    pub available: i64,
    /// Set aside for orders.
    pub reserved: i64,
    /// Has left the house.
    pub shipped: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, sku, name, price, currency, created_at, p.updated_at, version,
                    coalesce(available, 0) as available, coalesce(reserved, 0) as reserved,
                    coalesce(shipped, 0) as shipped
             from stock_level.product p left join stock_level.stock s on s.product_id = p.id ",
            $rest
        )
    };
}

/// One product.
pub async fn product(pool: &PgPool, id: Uuid) -> Result<Option<ProductRow>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// Products by SKU, after `after`.
pub async fn products(
    pool: &PgPool,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<ProductRow>, sqlx::Error> {
    let (sku, id) = after.unzip();
    sqlx::query_as(select!(
        "where $1::text is null or (sku, id) > ($1, $2) order by sku, id limit $3"
    ))
    .bind(sku)
    .bind(id)
    .bind(limit)
    .fetch_all(pool)
    .await
}
