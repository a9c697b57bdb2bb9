//! Products at today's price, with the pieces available, reserved and shipped of each.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::orders::{Currency, Event, Price, Product, Sku, StockItem, product, stock_item};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::columns::Columns;
use crate::projection::Projection;

/// The read model of products and stock.
#[derive(Debug)]
pub struct StockLevel;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    added: Vec<ProductRow>,
    changed: HashMap<Uuid, Change>,
    moved: HashMap<Uuid, Moved>,
}

/// What later events change of a product; `None` leaves a column as it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    name: Option<String>,
    price: Option<String>,
    at: DateTime<Utc>,
    version: i64,
}

/// By how many pieces the stock of a product changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Moved {
    received: i64,
    available: i64,
    reserved: i64,
    shipped: i64,
    at: DateTime<Utc>,
    version: i64,
}

impl Projection for StockLevel {
    const NAME: &'static str = "stock_level";
    /// 2 added the version of the stock.
    const VERSION: i32 = 2;
    const CATEGORIES: &'static [&'static str] = &[Product::CATEGORY, StockItem::CATEGORY];
    const DDL: &'static str = include_str!("stock_level.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // Keys of these categories are ids: the deciders' streams are named that way only.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        match &event.event {
            Event::Product(product) => changes.product(id, &event, product),
            Event::Stock(stock) => changes.stock(id, &event, stock),
            Event::Order(_) | Event::Sku(_) => {}
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Columns::of(&changes.added)
            .column("id", |row| row.id)
            .column("sku", |row| row.sku.as_str())
            .column("name", |row| row.name.as_str())
            .column("price", |row| row.price.as_str())
            .column("currency", |row| row.currency.as_str())
            .column("created_at", |row| row.created_at)
            .column("updated_at", |row| row.updated_at)
            .column("version", |row| row.version)
            .insert("product", "", connection)
            .await?;
        let changed: Vec<_> = changes.changed.into_iter().collect();
        Columns::of(&changed)
            .column("id", |(id, _)| *id)
            .column("name", |(_, change)| change.name.as_deref())
            .column("price", |(_, change)| change.price.as_deref())
            .column("at", |(_, change)| change.at)
            .column("version", |(_, change)| change.version)
            .execute(
                "update product as p set
                   name = coalesce(n.name, p.name), price = coalesce(n.price, p.price),
                   updated_at = n.at, version = n.version
                 from {n} where p.id = n.id",
                connection,
            )
            .await?;
        let moved: Vec<_> = changes.moved.into_iter().collect();
        // Not an upsert: the row it proposes must pass the table's checks by itself, and a change
        // alone does not. The stock of a new product starts at 0.
        Columns::of(&moved)
            .column("product_id", |(id, _)| *id)
            .column("received", |(_, moved)| moved.received)
            .column("available", |(_, moved)| moved.available)
            .column("reserved", |(_, moved)| moved.reserved)
            .column("shipped", |(_, moved)| moved.shipped)
            .column("at", |(_, moved)| moved.at)
            .column("version", |(_, moved)| moved.version)
            .execute(
                "merge into stock as s using {n} on s.product_id = n.product_id
                 when matched then update set
                   received = s.received + n.received, available = s.available + n.available,
                   reserved = s.reserved + n.reserved, shipped = s.shipped + n.shipped,
                   updated_at = n.at, version = n.version
                 when not matched then
                   insert (product_id, received, available, reserved, shipped, updated_at, version)
                   values (n.product_id, n.received, n.available, n.reserved, n.shipped, n.at,
                           n.version)",
                connection,
            )
            .await
    }
}

impl Changes {
    fn product(&mut self, id: Uuid, recorded: &Recorded<Event>, event: &product::Event) {
        match event {
            product::Event::ProductAdded { sku, name, price, currency } => {
                let at = recorded.recorded_at;
                self.added.push(ProductRow::added(id, sku, name, *price, *currency, at));
            }
            product::Event::ProductChanged { name, price } => {
                let change = self.changed.entry(id).or_default();
                change.name = name.clone().or(change.name.take());
                change.price = price.map(|price| price.to_string()).or(change.price.take());
                change.at = recorded.recorded_at;
                change.version = recorded.version.0;
            }
        }
    }

    fn stock(&mut self, id: Uuid, recorded: &Recorded<Event>, event: &stock_item::Event) {
        let moved = self.moved.entry(id).or_default();
        moved.at = recorded.recorded_at;
        moved.version = recorded.version.0;
        match event {
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

/// A product and its stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Product)]
pub struct ProductRow {
    /// Id of the product.
    pub id: Uuid,
    /// The shop's unique code of the product.
    pub sku: String,
    /// Name today.
    pub name: String,
    /// Unit price today, decimal.
    pub price: String,
    /// ISO 4217.
    pub currency: String,
    /// Pieces in stock.
    #[sqlx(flatten)]
    pub stock: Stock,
    /// Time the product was added.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of name or price.
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

impl ProductRow {
    /// A product right after it was added.
    pub fn added(
        id: Uuid,
        sku: &Sku,
        name: &str,
        price: Price,
        currency: Currency,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            sku: sku.to_string(),
            name: name.to_owned(),
            price: price.to_string(),
            currency: currency.to_string(),
            stock: Stock::default(),
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }
}

/// Pieces of a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow, ToSchema)]
pub struct Stock {
    /// Pieces that can be ordered.
    pub available: i64,
    /// Pieces reserved for orders that are not shipped yet.
    pub reserved: i64,
    /// Pieces shipped since the product was added.
    pub shipped: i64,
    /// Version of the stock's stream; 0 if nothing was ever received.
    #[serde(skip)]
    #[sqlx(rename = "stock_version")]
    pub version: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, sku, name, price, currency, created_at, p.updated_at, p.version,
                    coalesce(s.version, 0) as stock_version,
                    coalesce(available, 0) as available, coalesce(reserved, 0) as reserved,
                    coalesce(shipped, 0) as shipped
             from stock_level.product p left join lateral (
               select * from stock_level.stock where product_id = p.id offset 0
             ) s on true ",
            $rest
        )
    };
}

/// Returns the product of this id.
pub async fn product(pool: &PgPool, id: Uuid) -> Result<Option<ProductRow>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// The pieces of a product that must add up: `received = available + reserved + shipped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct StockSums {
    /// Pieces received, less those written off.
    pub received: i64,
    /// Pieces that can be ordered.
    pub available: i64,
    /// Pieces reserved for open orders.
    pub reserved: i64,
    /// Pieces shipped.
    pub shipped: i64,
    /// Version of the stock's stream; 0 if nothing was ever received.
    pub version: i64,
}

/// Returns the sums of the product of this id.
pub async fn stock_sums(pool: &PgPool, id: Uuid) -> Result<Option<StockSums>, sqlx::Error> {
    sqlx::query_as(
        "select coalesce(received, 0) as received, coalesce(available, 0) as available,
                coalesce(reserved, 0) as reserved, coalesce(shipped, 0) as shipped,
                coalesce(s.version, 0) as version
         from stock_level.product p left join stock_level.stock s on s.product_id = p.id
         where p.id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Lists products by SKU, after the cursor `after`: SKU and id of the last one seen.
pub async fn products(
    pool: &PgPool,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<ProductRow>, sqlx::Error> {
    let mut query = QueryBuilder::new(select!("where true"));
    if let Some((sku, id)) = after {
        query.push(" and (sku, id) > (").push_bind(sku).push(", ").push_bind(id).push(")");
    }
    query.push(" order by sku, id limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, fold};
    use domain::orders::{product_stream, stock_stream};

    #[test]
    fn a_batch_changes_a_product_once() {
        let id = Uuid::from_u128(1);
        let sku: Sku = "HAT-1".to_owned().try_into().unwrap();
        let [old, new]: [Price; 2] =
            ["9.90", "8.50"].map(|price| price.to_owned().try_into().unwrap());
        let currency: Currency = "EUR".to_owned().try_into().unwrap();
        let name = "Hat".to_owned();
        let added = product::Event::ProductAdded { sku: sku.clone(), name, price: old, currency };
        let renamed = product::Event::ProductChanged { name: Some("Cap".into()), price: None };
        let cheaper = product::Event::ProductChanged { name: None, price: Some(new) };
        let events = [added, renamed, cheaper];
        let changes =
            fold::<StockLevel>(events.map(|event| (product_stream(id), Event::Product(event))));
        assert_eq!(changes.added, [ProductRow::added(id, &sku, "Hat", old, currency, at(1))]);
        let (name, price) = (Some("Cap".into()), Some("8.50".into()));
        let expected = Change { name, price, at: at(3), version: 3 };
        assert_eq!(changes.changed, HashMap::from([(id, expected)]));
    }

    #[test]
    fn movements_add_up_and_pieces_are_conserved() {
        let (id, order_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let reason = String::from("delivery");
        let events = [
            stock_item::Event::StockReceived { quantity: 10, reason: reason.clone() },
            stock_item::Event::StockCorrected { quantity: 1, reason },
            stock_item::Event::StockReserved { order_id, quantity: 5 },
            stock_item::Event::StockRefused { order_id, quantity: 50, available: 4 },
            stock_item::Event::StockReleased { order_id, quantity: 2 },
            stock_item::Event::StockShipped { order_id, quantity: 3 },
        ];
        let changes =
            fold::<StockLevel>(events.map(|event| (stock_stream(id), Event::Stock(event))));
        let expected =
            Moved { received: 9, available: 6, reserved: 0, shipped: 3, at: at(6), version: 6 };
        assert_eq!(changes.moved, HashMap::from([(id, expected)]));
    }
}
