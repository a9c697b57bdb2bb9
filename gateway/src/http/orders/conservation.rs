//! Conservation of stock: every received piece is available, reserved or shipped.

use domain::orders::stock_stream;
use projections::orders::StockLevel;

use super::super::prelude::*;

/// The pieces of a product, as the read model and the log have them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StockConservation)]
pub(super) struct Conservation {
    /// Id of the product.
    product_id: Uuid,
    /// Version of the stock's stream that the read model shows; 0 if nothing was ever received.
    version: i64,
    /// Pieces received, less those written off.
    received: i64,
    /// Pieces that can be ordered.
    available: i64,
    /// Pieces reserved for orders that are not shipped yet.
    reserved: i64,
    /// Pieces shipped.
    shipped: i64,
    /// Whether `received = available + reserved + shipped`, and whether the events of the stock add up to
    /// the same numbers, as far as both are at the same version.
    holds: bool,
    /// The same, folded from the events of the stock's stream.
    log: FoldedStock,
}

/// The pieces of a product, folded from the log.
#[derive(Debug, Serialize, ToSchema)]
struct FoldedStock {
    /// Version of the stock's stream.
    version: i64,
    /// Pieces that can be ordered.
    available: u64,
    /// Pieces reserved for orders that are not shipped yet.
    reserved: u64,
    /// Pieces shipped.
    shipped: u64,
    /// Number of orders that pieces are reserved for.
    open_reservations: usize,
}

/// Show whether the pieces of a product add up
///
/// For operators.
#[utoipa::path(
    get, path = "/api/v1/products/{id}/conservation", tag = tags::ORDERS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The sums", body = Conservation),
        (status = 403, description = "The caller is not an operator")),
)]
pub(super) async fn show(
    _: Operator,
    context: QueryContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = context.wait(StockLevel::NAME).await?;
    let sums = projections::orders::stock_sums(context.pool(), id).await?;
    let sums = sums.ok_or_else(|| Problem::not_found("product"))?;
    let folded = context.api.handlers.stock.load(&stock_stream(id)).await?;
    let log = FoldedStock {
        version: folded.version.0,
        available: folded.state.available,
        reserved: folded.state.reserved(),
        shipped: folded.state.shipped,
        open_reservations: folded.state.reserved.len(),
    };
    let adds_up = sums.received == sums.available + sums.reserved + sums.shipped;
    let same = [(sums.available, log.available), (sums.reserved, log.reserved)]
        .into_iter()
        .chain([(sums.shipped, log.shipped)])
        .all(|(shown, folded)| u64::try_from(shown) == Ok(folded));
    let conservation = Conservation {
        product_id: id,
        version: sums.version,
        received: sums.received,
        available: sums.available,
        reserved: sums.reserved,
        shipped: sums.shipped,
        holds: adds_up && (same || sums.version != log.version),
        log,
    };
    Ok(page::one(conservation, None, position))
}
