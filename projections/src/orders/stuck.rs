//! Stuck orders: those that fulfilment should have moved on, and what each of them waits for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::orders::fulfilment;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::names::{Status, StatusName};
use super::order_list::Item;

/// Time without a change after which a pending order is listed. Fulfilment needs milliseconds.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// What an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// Stock of a product is to be reserved.
    Reservation,
    /// All stock is reserved; the order is to be confirmed.
    Confirmation,
    /// The time to confirm the order is over; it is to be cancelled.
    Expiry,
    /// The order is cancelled; reserved stock of a product is to be released.
    Release,
    /// The order is shipped; reserved stock of a product is to be shipped.
    Shipment,
}

/// A parked stream that holds up an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldUpBy {
    /// Key of the parked stream, for `/api/v1/parked/{key}`.
    pub key: String,
    /// Position of the event that could not be handled.
    pub position: i64,
    /// Why the event could not be handled.
    pub error: String,
}

/// A stuck order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StuckOrder {
    /// Id of the order.
    pub id: Uuid,
    /// User who placed the order.
    pub customer_id: Uuid,
    /// Status of the order.
    pub status: StatusName,
    /// What the order waits for; null if only events of its parked streams wait.
    pub waits_for: Option<WaitsFor>,
    /// Product of a reservation, release or shipment; null for others.
    pub product_id: Option<Uuid>,
    /// Parked streams of the order and its products; retry or skip them to let the order go on.
    pub parked: Vec<HeldUpBy>,
    /// Time the order was placed.
    pub created_at: DateTime<Utc>,
    /// Time of the last change of the status.
    pub updated_at: DateTime<Utc>,
    /// Time after which the order is cancelled if it is pending; null unless it is.
    pub reserve_until: Option<DateTime<Utc>>,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    customer_id: Uuid,
    status: StatusName,
    #[sqlx(json)]
    items: Vec<Item>,
    reserved: Vec<Uuid>,
    settled: Vec<Uuid>,
    #[sqlx(json)]
    parked: Vec<HeldUpBy>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    reserve_until: Option<DateTime<Utc>>,
}

/// Lists stuck orders, oldest first, after the cursor `after`: time of creation and id of the last one
/// seen. These are orders that have been pending for a minute, and orders with a parked stream.
pub async fn stuck(
    pool: &PgPool,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<StuckOrder>, sqlx::Error> {
    let (created_at, id) = after.unwrap_or_default();
    let rows: Vec<Row> = sqlx::query_as(
        "select p.id, p.customer_id, p.status, p.items, p.created_at, p.updated_at, p.reserve_until,
                array(select h.product_id from order_list.history h
                      where h.order_id = p.id and h.event = 'stock_reserved') as reserved,
                array(select h.product_id from order_list.history h
                      where h.order_id = p.id and h.event in ('stock_released', 'stock_shipped'))
                  as settled,
                (select coalesce(json_agg(json_build_object(
                          'key', k.consumer || ':' || k.stream_id, 'position', k.position,
                          'error', k.error) order by k.position), '[]')
                 from log.parked k
                 where k.consumer = $1 and k.parked
                   and (k.stream_id = 'order-' || p.id
                        or k.stream_id in (select 'stock-' || (item ->> 'product_id')
                                           from json_array_elements(p.items) item))) as parked
         from order_list.purchase p
         where p.id in (
             select id from order_list.purchase where reserve_until is not null and updated_at <= $2
             union
             select substr(stream_id, 7)::uuid from log.parked
             where consumer = $1 and parked and stream_id ~ '^order-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')
           and (p.created_at, p.id) > ($3, $4)
         order by p.created_at, p.id limit $5",
    )
    .bind(fulfilment::NAME)
    .bind(now - STUCK_AFTER)
    .bind(created_at)
    .bind(id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.stuck(now)).collect())
}

impl Row {
    fn stuck(self, now: DateTime<Utc>) -> StuckOrder {
        let (waits_for, product_id) = self.waits_for(now).unzip();
        let Self { id, customer_id, status, parked, created_at, updated_at, reserve_until, .. } =
            self;
        StuckOrder {
            id,
            customer_id,
            status,
            waits_for,
            product_id: product_id.flatten(),
            parked,
            created_at,
            updated_at,
            reserve_until,
        }
    }

    /// Returns what the order waits for, with the product if it is stock.
    fn waits_for(&self, now: DateTime<Utc>) -> Option<(WaitsFor, Option<Uuid>)> {
        let lines = || self.items.iter().map(|item| item.product_id);
        let held =
            || lines().find(|line| self.reserved.contains(line) && !self.settled.contains(line));
        match self.status.0 {
            Status::Pending if self.reserve_until.is_some_and(|until| until <= now) => {
                Some((WaitsFor::Expiry, None))
            }
            Status::Pending => match lines().find(|line| !self.reserved.contains(line)) {
                Some(product) => Some((WaitsFor::Reservation, Some(product))),
                None => Some((WaitsFor::Confirmation, None)),
            },
            Status::Confirmed => None,
            Status::Cancelled => held().map(|product| (WaitsFor::Release, Some(product))),
            Status::Shipped => held().map(|product| (WaitsFor::Shipment, Some(product))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_name::ByName;
    use crate::testing::at;

    fn row(status: Status, reserved: &[u128], settled: &[u128]) -> Row {
        let product = |n: &u128| Uuid::from_u128(*n);
        let item = |n: &u128| Item {
            product_id: product(n),
            sku: "HAT-1".into(),
            name: "Hat".into(),
            quantity: 1,
            price: "1".into(),
        };
        Row {
            id: Uuid::nil(),
            customer_id: Uuid::nil(),
            status: ByName(status),
            items: [1, 2].iter().map(item).collect(),
            reserved: reserved.iter().map(product).collect(),
            settled: settled.iter().map(product).collect(),
            parked: Vec::new(),
            created_at: at(0),
            updated_at: at(0),
            reserve_until: (status == Status::Pending).then(|| at(60)),
        }
    }

    #[test]
    fn an_order_waits_for_its_next_step() {
        use WaitsFor::{Confirmation, Expiry, Release, Reservation, Shipment};
        let product = |n| Some(Uuid::from_u128(n));
        for (status, reserved, settled, now, waits_for) in [
            (Status::Pending, &[][..], &[][..], 59, Some((Reservation, product(1)))),
            (Status::Pending, &[1], &[], 59, Some((Reservation, product(2)))),
            (Status::Pending, &[1, 2], &[], 59, Some((Confirmation, None))),
            (Status::Pending, &[1], &[], 60, Some((Expiry, None))),
            (Status::Cancelled, &[1, 2], &[1], 60, Some((Release, product(2)))),
            (Status::Cancelled, &[1], &[1], 60, None),
            (Status::Shipped, &[1, 2], &[2], 60, Some((Shipment, product(1)))),
            (Status::Confirmed, &[1, 2], &[], 60, None),
        ] {
            assert_eq!(row(status, reserved, settled).waits_for(at(now)), waits_for, "{status:?}");
        }
    }
}
