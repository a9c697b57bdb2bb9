//! Products and their stock: add, list, show and change products, receive or correct stock.

use chrono::Utc;
use commands::Done;
use commands::orders::{add_product, change_product, move_stock};
use domain::Name;
use domain::orders::product::{Command, Sku};
use domain::orders::{Currency, Price, product_stream, stock_item, stock_stream};
use eventsourcing::Version;
use projections::orders::{ProductRow, StockLevel};

use super::super::extract::parsed;
use super::super::prelude::*;
use super::super::text::Text;

/// Most pieces received or corrected at once.
const MAX_MOVE: u32 = 1_000_000;

/// A new product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProduct {
    /// Stock keeping unit, unique: 1 to 64 letters, digits or `. _ -`.
    #[serde(deserialize_with = "parsed")]
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "HAT-1")]
    sku: Sku,
    /// Name of the product.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Name<200>,
    /// Unit price, decimal: at most 9 digits before the point, and after it at most as many as the
    /// currency has minor units: 2 for EUR, none for JPY, 3 for BHD.
    #[schema(value_type = String, pattern = r"^[0-9]{1,9}(\.[0-9]{1,4})?$", example = "9.90")]
    price: Price,
    /// Currency of the price: a code of ISO 4217 that has minor units.
    #[serde(deserialize_with = "parsed")]
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: Currency,
}

/// Add a product
///
/// For operators.
#[utoipa::path(
    post, path = "/api/v1/products", tag = tags::ORDERS, params(CommandHeaders),
    request_body = NewProduct,
    responses((status = 201, description = "The product is added", body = ProductRow)),
)]
pub(super) async fn add(
    _: Operator,
    context: CommandContext,
    Json { value }: Json<NewProduct>,
) -> Result<Response, Problem> {
    let NewProduct { sku, name, price, currency } = value;
    let name = String::from(name);
    let row = ProductRow::added(Uuid::now_v7(), &sku, &name, price, currency, Utc::now());
    let location = format!("/api/v1/products/{}", row.id);
    let response = StoredResponse::new(StatusCode::CREATED, location, Version(1), &row)?
        .recorded_at(&["/created_at", "/updated_at"])
        .tagged([1, 0]);
    let command = Command::Add { sku, name, price, currency };
    let add = |envelope| add_product(&context.api.handlers, row.id, command, envelope);
    context.execute(StockLevel::NAME, response, add).await
}

/// List products, by SKU
#[utoipa::path(
    get, path = "/api/v1/products", tag = tags::ORDERS, params(PageQuery, QueryHeaders),
    responses((status = 200, description = "A page of products", body = Page<ProductRow>)),
)]
pub(super) async fn list(
    context: QueryContext,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let rows = projections::orders::products(context.pool(), after, query.limit.into());
    let key = |last: &ProductRow| (last.sku.clone(), last.id);
    context.list(StockLevel::NAME, query.limit, rows, key).await
}

/// Show one product and its stock
///
/// The `ETag` covers both: whatever changes the product or its stock makes `If-Match` fail.
#[utoipa::path(
    get, path = "/api/v1/products/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The product", body = ProductRow)),
)]
pub(super) async fn get(context: QueryContext, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let row = projections::orders::product(context.pool(), id);
    context
        .show(StockLevel::NAME, "product", row, |row| Some([row.version, row.stock.version]))
        .await
}

/// A change of a product; members that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProductChange {
    /// The new name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Name<200>>,
    /// The new unit price, decimal, with at most as many digits after the point as the currency has
    /// minor units. Orders that are placed already keep their price.
    #[schema(value_type = Option<String>, pattern = r"^[0-9]{1,9}(\.[0-9]{1,4})?$")]
    price: Option<Price>,
}

/// Change a product
///
/// For operators.
#[utoipa::path(
    patch, path = "/api/v1/products/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = ProductChange,
    responses((status = 204, description = "The product is changed")),
)]
pub(super) async fn change(
    _: Operator,
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value }: Json<ProductChange>,
) -> Result<Response, Problem> {
    let command = Command::Change { name: value.name.map(String::from), price: value.price };
    let response = StoredResponse::no_content(format!("/api/v1/products/{id}"))?;
    let (handlers, shown) = (&context.api.handlers, context.if_match.streams());
    let envelope = context.envelope(&response)?;
    let done = change_product(handlers, id, command, shown, envelope).await?;
    respond(&context, id, response, &done).await
}

/// Responds with the tag of the product and its stock as they were after the command.
async fn respond(
    context: &CommandContext,
    id: Uuid,
    response: StoredResponse,
    done: &Done,
) -> Result<Response, Problem> {
    let store = &context.api.store;
    let until = match done.accepted_at {
        Some(position) => position,
        None => store.head().await?,
    };
    let streams = [product_stream(id), stock_stream(id)];
    let last = store.last_of_streams(&streams, until).await?;
    let versions = streams.map(|stream| {
        let last = last.iter().find(|event| event.stream == stream);
        last.map_or(0, |event| event.version.0)
    });
    context.respond(StockLevel::NAME, response.tagged(versions), done).await
}

/// A change of the stock of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StockMove {
    /// Number of pieces: positive if they were received, negative to correct the stock downwards.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    quantity: i64,
    /// Why the stock changes.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    reason: Text<200>,
}

impl StockMove {
    fn command(self) -> Result<stock_item::Command, Problem> {
        let Self { quantity: change, reason: Text(reason) } = self;
        let quantity = u32::try_from(change.unsigned_abs()).unwrap_or(u32::MAX);
        if !(1..=MAX_MOVE).contains(&quantity) {
            let detail = format!("must be 1 to {MAX_MOVE} or -1 to -{MAX_MOVE} pieces");
            return Err(Problem::member_at("/quantity", detail));
        }
        Ok(if change > 0 {
            stock_item::Command::Receive { quantity, reason }
        } else {
            stock_item::Command::Correct { quantity, reason }
        })
    }
}

/// Receive or correct stock
///
/// For operators. A correction cannot make the available stock negative, and cannot remove reserved
/// stock.
#[utoipa::path(
    post, path = "/api/v1/products/{id}/stock", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = StockMove,
    responses((status = 204, description = "The change is recorded")),
)]
pub(super) async fn stock(
    _: Operator,
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value }: Json<StockMove>,
) -> Result<Response, Problem> {
    let command = value.command()?;
    let response = StoredResponse::no_content(format!("/api/v1/products/{id}"))?;
    let (handlers, shown) = (&context.api.handlers, context.if_match.streams());
    let envelope = context.envelope(&response)?;
    let done = move_stock(handlers, id, command, shown, envelope).await?;
    respond(&context, id, response, &done).await
}
