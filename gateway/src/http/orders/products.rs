//! Products and their stock over HTTP.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::Utc;
use commands::orders::{add_product, move_stock};
use domain::orders::product::{Command, Sku};
use domain::orders::{Currency, Price, product_stream, stock_item};
use eventsourcing::Version;
use projections::orders::{ProductRow, Stock};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::super::caller::Operator;
use super::super::extract::{Json, Path, Query};
use super::super::page::{self, Cursor, Limit, Page};
use super::super::problem::Problem;
use super::super::receipt::{Answer, Asked, CommandHeaders};
use super::super::text::Text;
use super::super::wait::{self, QueryHeaders};
use super::super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "stock_level";
/// Most pieces moved at once.
const MAX_MOVE: u32 = 1_000_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(add, list))
        .routes(routes!(get, change))
        .routes(routes!(stock))
}

/// A product to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewProduct {
    /// 1 to 64 letters, digits or `. _ -`; no other product has it.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "HAT-1")]
    sku: Sku,
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Text<200>,
    /// Of one piece: at most 9 digits, and at most 4 behind the point.
    #[schema(value_type = String, pattern = r"^[0-9]{1,9}(\.[0-9]{1,4})?$", example = "9.90")]
    price: Price,
    /// ISO 4217.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: Currency,
}

/// Add a product
///
/// By an operator.
#[utoipa::path(
    post, path = "/api/v1/products", tag = tags::ORDERS, params(CommandHeaders),
    request_body = NewProduct,
    responses((status = 201, description = "Added", body = ProductRow)),
)]
async fn add(
    State(api): State<Arc<Api>>,
    _: Operator,
    asked: Asked,
    Json { value, bytes }: Json<NewProduct>,
) -> Result<Response, Problem> {
    let NewProduct { sku, name: Text(name), price, currency } = value;
    let now = Utc::now();
    let row = ProductRow {
        id: Uuid::now_v7(),
        sku: sku.to_string(),
        name: name.clone(),
        price: price.to_string(),
        currency: currency.to_string(),
        stock: Stock::default(),
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let location = format!("/api/v1/products/{}", row.id);
    let answer = Answer::new(StatusCode::CREATED, location, Version(row.version), &row)?;
    let envelope = asked.envelope(&bytes, &answer)?;
    let command = Command::Add { sku, name, price, currency };
    let done = add_product(&api.handlers, row.id, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// Which products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List products, by SKU
#[utoipa::path(
    get, path = "/api/v1/products", tag = tags::ORDERS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of products", body = Page<ProductRow>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let rows = projections::orders::products(api.store.pool(), after, query.limit.into()).await?;
    page::full(&uri, rows, query.limit, position, |last| (last.sku.clone(), last.id))
}

/// Show one product and its stock
#[utoipa::path(
    get, path = "/api/v1/products/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The product", body = ProductRow)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = projections::orders::product(api.store.pool(), id).await?;
    let row = row.ok_or_else(|| Problem::not_found("product"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// What is to be different; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProductChange {
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Text<200>>,
    /// Of one piece. Orders placed before keep theirs.
    #[schema(value_type = Option<String>, pattern = r"^[0-9]{1,9}(\.[0-9]{1,4})?$")]
    price: Option<Price>,
}

/// Change a product
///
/// By an operator.
#[utoipa::path(
    patch, path = "/api/v1/products/{id}", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = ProductChange,
    responses((status = 204, description = "Changed")),
)]
async fn change(
    State(api): State<Arc<Api>>,
    _: Operator,
    asked: Asked,
    Path(id): Path<Uuid>,
    Json { value, bytes }: Json<ProductChange>,
) -> Result<Response, Problem> {
    let command = Command::Change { name: value.name.map(|Text(name)| name), price: value.price };
    let answer = Answer::no_content(format!("/api/v1/products/{id}"))?;
    let envelope = asked.envelope(&[id.as_bytes(), &bytes[..]].concat(), &answer)?;
    let done = api.handlers.products.execute(&product_stream(id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// Pieces that came in or are gone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StockMove {
    /// Positive: so many came in. Negative: there are so many fewer.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    quantity: i64,
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    reason: Text<200>,
}

/// Receive or correct stock
///
/// By an operator. Available stock is never below zero, and what is reserved is not corrected away.
#[utoipa::path(
    post, path = "/api/v1/products/{id}/stock", tag = tags::ORDERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = StockMove,
    responses((status = 204, description = "Recorded")),
)]
async fn stock(
    State(api): State<Arc<Api>>,
    _: Operator,
    asked: Asked,
    Path(id): Path<Uuid>,
    Json { value, bytes }: Json<StockMove>,
) -> Result<Response, Problem> {
    let StockMove { quantity: change, reason: Text(reason) } = value;
    let quantity = u32::try_from(change.unsigned_abs()).unwrap_or(u32::MAX);
    if !(1..=MAX_MOVE).contains(&quantity) {
        let detail = format!("1 to {MAX_MOVE} pieces, more or fewer");
        return Err(Problem::member_at("/quantity", detail));
    }
    let command = if change > 0 {
        stock_item::Command::Receive { quantity, reason }
    } else {
        stock_item::Command::Correct { quantity, reason }
    };
    let answer = Answer::no_content(format!("/api/v1/products/{id}"))?;
    let envelope = asked.envelope(&[id.as_bytes(), &bytes[..]].concat(), &answer)?;
    let done = move_stock(&api.handlers, id, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
