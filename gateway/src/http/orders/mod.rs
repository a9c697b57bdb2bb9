//! Orders over HTTP: place one, look at it, cancel it, ship it.

mod products;

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::Utc;
use commands::orders::{NotPriced, priced};
use domain::orders::order::{Command, Placed};
use domain::orders::order_stream;
use eventsourcing::Version;
use projections::orders::{HistoryEntry, Item, OrderFilter, OrderRow};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::{Caller, Operator};
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Answer, Asked, CommandHeaders};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "order_list";
/// Most items of an order.
const MAX_ITEMS: usize = 100;
/// Most pieces of one product in an order.
const MAX_QUANTITY: u32 = 10_000;
/// What an order can be.
const STATUSES: [&str; 4] = ["pending", "confirmed", "shipped", "cancelled"];

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(place, list))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(ship))
        .merge(products::routes())
}

/// What is ordered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder)]
struct Cart {
    /// The same product twice is one item of both quantities.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<CartItem>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CartItem {
    product_id: Uuid,
    /// Pieces.
    #[schema(minimum = 1, maximum = 10000)]
    quantity: u32,
}

impl Cart {
    fn items(&self) -> Result<Vec<(Uuid, u32)>, Problem> {
        if !(1..=MAX_ITEMS).contains(&self.items.len()) {
            let detail = format!("an order has 1 to {MAX_ITEMS} items");
            return Err(Problem::member_at("/items", detail));
        }
        for (index, item) in self.items.iter().enumerate() {
            if !(1..=MAX_QUANTITY).contains(&item.quantity) {
                let detail = format!("1 to {MAX_QUANTITY} pieces");
                return Err(Problem::member_at(&format!("/items/{index}/quantity"), detail));
            }
        }
        Ok(self.items.iter().map(|item| (item.product_id, item.quantity)).collect())
    }
}

/// Place an order
///
/// At today's prices. It is pending until everything is set aside for it, which takes a moment:
/// look at `Location` to see it confirmed, or cancelled with the reason.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = tags::ORDERS, params(CommandHeaders), request_body = Cart,
    responses((status = 202, description = "Placed", body = OrderRow)),
)]
async fn place(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Json { value, bytes }: Json<Cart>,
) -> Result<Response, Problem> {
    let customer = asked.caller.user()?;
    let lines = priced(&api.handlers, &value.items()?).await.map_err(|error| match error {
        NotPriced::NoProduct { item } => {
            Problem::member_at(&format!("/items/{item}/product_id"), "there is no such product")
        }
        NotPriced::Failed(error) => error.into(),
    })?;
    let now = Utc::now();
    let placed =
        Placed::new(customer.id, lines, now + api.order_ttl).map_err(commands::Error::Rejected)?;
    let row = new_row(&placed, now);
    let location = format!("/api/v1/orders/{}", row.id);
    let answer = Answer::new(StatusCode::ACCEPTED, location, Version(row.version), &row)?;
    let envelope = asked.envelope(&bytes, &answer)?;
    let stream = order_stream(row.id);
    let done = api.handlers.orders.create(&stream, Command::Place(placed), envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// An order as it will be shown once the read model has it.
fn new_row(placed: &Placed, now: chrono::DateTime<Utc>) -> OrderRow {
    OrderRow {
        id: Uuid::now_v7(),
        customer_id: placed.customer_id,
        status: STATUSES[0].to_owned(),
        reason: None,
        items: placed.lines.iter().map(Item::from).collect(),
        total: placed.total.to_string(),
        currency: placed.currency.to_string(),
        created_at: now,
        updated_at: now,
        history: vec![HistoryEntry {
            at: now,
            event: "placed".into(),
            product_id: None,
            quantity: None,
        }],
        version: 1,
    }
}

/// Which orders.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those of this status: pending, confirmed, shipped, cancelled.
    status: Option<String>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List orders, newest first
///
/// One's own; operators see everybody's.
#[utoipa::path(
    get, path = "/api/v1/orders", tag = tags::ORDERS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of orders", body = Page<OrderRow>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let actor = caller.user()?;
    if query.status.as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
        return Err(Problem::parameter("status", format!("one of {}", STATUSES.join(", "))));
    }
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let customer_id = (!actor.sees_all()).then_some(actor.id);
    let filter = OrderFilter { customer_id, status: query.status };
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let pool = api.store.pool();
    let rows = projections::orders::orders(pool, &filter, after, query.limit.into()).await?;
    page::full(&uri, rows, query.limit, position, |last| (last.created_at, last.id))
}

/// Show one order
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The order", body = OrderRow)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let actor = caller.user()?;
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = projections::orders::order(api.store.pool(), id).await?;
    let row = row.filter(|row| row.customer_id == actor.id || actor.sees_all());
    let row = row.ok_or_else(|| Problem::not_found("order"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// Cancel an order
///
/// By its customer or an operator, until it is shipped. What was set aside is released.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/cancel", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "Cancelled")),
)]
async fn cancel(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let by = asked.caller.user()?;
    command(&api, &asked, id, Command::Cancel { by }).await
}

/// Ship a confirmed order
///
/// By an operator.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/ship", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "Shipped")),
)]
async fn ship(
    State(api): State<Arc<Api>>,
    _: Operator,
    asked: Asked,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    command(&api, &asked, id, Command::Ship).await
}

async fn command(
    api: &Api,
    asked: &Asked,
    id: Uuid,
    command: Command,
) -> Result<Response, Problem> {
    let answer = Answer::no_content(format!("/api/v1/orders/{id}"))?;
    let envelope = asked.envelope(id.as_bytes(), &answer)?;
    let done = api.handlers.orders.execute(&order_stream(id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
