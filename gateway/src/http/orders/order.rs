//! Orders: place one, list and show them, cancel or ship one.

use commands::Envelope;
use commands::orders::{PricingError, price_items};
use domain::orders::order::{Command, MAX_PIECES, Placed};
use domain::orders::order_stream;
use eventsourcing::Version;
use futures::TryFutureExt;
use projections::ByName;
use projections::orders::{OrderFilter, OrderList, OrderRow, StatusName};

use super::super::prelude::*;

/// Most items of an order.
const MAX_ITEMS: usize = 100;

/// A new order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder)]
pub(super) struct Cart {
    /// The items, at most 100 as sent. Two items of the same product become one with the sum of their
    /// quantities, which must be at most 10,000, too.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<CartItem>,
}

/// An item of a new order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CartItem {
    /// The product.
    product_id: Uuid,
    /// Number of pieces.
    #[schema(minimum = 1, maximum = 10000)]
    quantity: u32,
}

impl Cart {
    fn items(&self) -> Result<Vec<(Uuid, u32)>, Problem> {
        if !(1..=MAX_ITEMS).contains(&self.items.len()) {
            let detail = format!("an order must have 1 to {MAX_ITEMS} items");
            return Err(Problem::member_at("/items", detail));
        }
        for (index, item) in self.items.iter().enumerate() {
            if !(1..=MAX_PIECES).contains(&item.quantity) {
                let detail = format!("must be 1 to {MAX_PIECES} pieces, not {}", item.quantity);
                return Err(Problem::member_at(&format!("/items/{index}/quantity"), detail));
            }
        }
        Ok(self.items.iter().map(|item| (item.product_id, item.quantity)).collect())
    }
}

/// Place an order
///
/// At the current prices. The order is pending until stock is reserved for all items; `Location`
/// shows when it is confirmed, or why it is cancelled.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = tags::ORDERS, params(CommandHeaders), request_body = Cart,
    responses((status = 202, description = "The order is placed", body = OrderRow)),
)]
pub(super) async fn place(
    context: CommandContext,
    Json { value }: Json<Cart>,
) -> Result<Response, Problem> {
    let customer = context.caller.user()?;
    let lines = price_items(&context.api.handlers, &value.items()?).await?;
    let now = context.api.store.now().await?;
    let placed = Placed::new(customer.id, lines, now + context.api.order_ttl)
        .map_err(commands::Error::Rejected)?;
    let row = OrderRow::placed(Uuid::now_v7(), &placed, now);
    let location = format!("/api/v1/orders/{}", row.id);
    let response = StoredResponse::new(StatusCode::ACCEPTED, location, Version(1), &row)?
        .recorded_at(&["/created_at", "/updated_at", "/history/0/at"])
        .tagged([1, 1]);
    let stream = order_stream(row.id);
    let create =
        |envelope| context.api.handlers.orders.create(&stream, Command::Place(placed), envelope);
    context.execute(OrderList::NAME, response, create).await
}

impl From<PricingError> for Problem {
    fn from(error: PricingError) -> Self {
        match error {
            PricingError::UnknownProduct { item } => {
                Self::member_at(&format!("/items/{item}/product_id"), "there is no such product")
            }
            PricingError::TooManyPieces { item, .. } => {
                Self::member_at(&format!("/items/{item}/quantity"), error.to_string())
            }
            PricingError::Load(error) => error.into(),
        }
    }
}

/// Which orders.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only orders with this status.
    #[param(inline)]
    status: Option<StatusName>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List orders, newest first
///
/// Users see only their own orders; operators see all.
#[utoipa::path(
    get, path = "/api/v1/orders", tag = tags::ORDERS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of orders", body = Page<OrderRow>)),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let actor = caller.user()?;
    let after = page::after(query.cursor.as_ref())?;
    let customer_id = (!actor.sees_all()).then_some(actor.id);
    let status = query.status.map(|ByName(status)| status);
    let filter = OrderFilter { customer_id, status };
    let rows = projections::orders::orders(context.pool(), &filter, after, query.limit.into());
    let key = |last: &OrderRow| (last.created_at, last.id);
    context.list(OrderList::NAME, query.limit, rows, key).await
}

/// Show one order
///
/// The `ETag` covers the history, which has events of the stock, too. `If-Match` of a command on the
/// order compares only what the order itself is.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The order", body = OrderRow)),
)]
pub(super) async fn get(
    context: QueryContext,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let actor = caller.user()?;
    let visible = |row: &OrderRow| row.customer_id == actor.id || actor.sees_all();
    let row = projections::orders::order(context.pool(), id).map_ok(|row| row.filter(visible));
    let tag = |row: &OrderRow| {
        let entries = i64::try_from(row.history.len()).unwrap_or(i64::MAX);
        Some([row.version, entries])
    };
    context.show(OrderList::NAME, "order", row, tag).await
}

/// Cancel an order
///
/// For its customer and for operators, until it is shipped. Reserved stock is released.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/cancel", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The order is cancelled")),
)]
pub(super) async fn cancel(
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let by = context.caller.user()?;
    execute(&context, id, Command::Cancel { by }).await
}

/// Ship a confirmed order
///
/// For operators.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/ship", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The order is shipped")),
)]
pub(super) async fn ship(
    _: Operator,
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    execute(&context, id, Command::Ship).await
}

async fn execute(
    context: &CommandContext,
    id: Uuid,
    command: Command,
) -> Result<Response, Problem> {
    let response = StoredResponse::no_content(format!("/api/v1/orders/{id}"))?;
    let stream = order_stream(id);
    let expected = context.if_match.first_versions();
    let execute = |envelope| {
        let envelope = Envelope { expected, ..envelope };
        context.api.handlers.orders.execute(&stream, command, envelope)
    };
    context.execute(OrderList::NAME, response, execute).await
}
