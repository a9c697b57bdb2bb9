//! Stuck orders: which orders do not go on, and what they wait for.

use projections::orders::{OrderList, StuckOrder};

use super::super::prelude::*;

/// List stuck orders, oldest first
///
/// For operators. Lists the orders that have been pending for a minute, and those of which fulfilment
/// has parked a stream, with what each order waits for.
#[utoipa::path(
    get, path = "/api/v1/stuck-orders", tag = tags::ORDERS, params(PageQuery, QueryHeaders),
    responses((status = 200, description = "A page of stuck orders", body = Page<StuckOrder>)),
)]
pub(super) async fn list(
    _: Operator,
    context: QueryContext,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let now = context.api.store.now().await?;
    let rows = projections::orders::stuck(context.pool(), now, after, query.limit.into());
    let key = |last: &StuckOrder| (last.created_at, last.id);
    context.list(OrderList::NAME, query.limit, rows, key).await
}
