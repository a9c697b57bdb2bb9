//! Products: adding them, moving their stock, and the price of an order's items.

use std::collections::HashMap;

use domain::orders::order::{Line, MAX_PIECES};
use domain::orders::product::{self, SkuEvent};
use domain::orders::{Currency, Product, product_stream, sku_stream, stock_item, stock_stream};
use eventsourcing::{Decider, StreamId, Version};
use eventstore::{ExpectedVersion, NewEvent, StreamAppend};
use uuid::Uuid;

use crate::Handlers;
use crate::error::{Error, LoadError};
use crate::handler::{Done, Envelope, Handler};

/// Most attempts at a command with a condition: each one but the last met a change of the other
/// stream.
const MAX_ATTEMPTS: usize = 16;

/// Adds a product. Its SKU is claimed in the same append, so of two products with one SKU one is
/// rejected.
pub async fn add_product(
    handlers: &Handlers,
    id: Uuid,
    command: product::Command,
    mut envelope: Envelope,
) -> Result<Done, Error<product::Rejection>> {
    let mut claimed = None;
    if let product::Command::Add { sku, .. } = &command {
        let stream = sku_stream(sku);
        let events = vec![NewEvent::new(&SkuEvent::SkuClaimed { product_id: id })?];
        claimed = Some(stream.clone());
        envelope.also.push(StreamAppend { stream, expected: ExpectedVersion::NoStream, events });
    }
    match handlers.products.create(&product_stream(id), command, envelope).await {
        Err(Error::Conflict(stream)) if Some(&stream) == claimed.as_ref() => {
            Err(Error::Rejected(product::Rejection::SkuTaken))
        }
        outcome => outcome,
    }
}

/// What a product shows: the version of its stream, and the version of its stock's.
pub type Shown = [Version; 2];

/// Changes a product, if it and its stock are as in one of `shown`; `None` for any.
pub async fn change_product(
    handlers: &Handlers,
    id: Uuid,
    command: product::Command,
    shown: Option<Vec<Shown>>,
    envelope: Envelope,
) -> Result<Done, Error<product::Rejection>> {
    let stream = product_stream(id);
    let Some(shown) = shown else {
        return handlers.products.execute(&stream, command, envelope).await;
    };
    let stock = (&handlers.stock, stock_stream(id));
    execute_if(&handlers.products, &stream, command, stock, &shown, envelope).await
}

/// Receives or corrects stock of a product, which must exist; if it and its stock are as in one of
/// `shown`, or `None` for any.
pub async fn move_stock(
    handlers: &Handlers,
    product_id: Uuid,
    command: stock_item::Command,
    shown: Option<Vec<Shown>>,
    envelope: Envelope,
) -> Result<Done, Error<stock_item::Rejection>> {
    let product = handlers.products.load(&product_stream(product_id)).await?.state;
    if product == Product::Unknown {
        return Err(Error::Rejected(stock_item::Rejection::NoProduct));
    }
    let stream = stock_stream(product_id);
    let Some(shown) = shown else {
        return handlers.stock.execute(&stream, command, envelope).await;
    };
    let based_on: Vec<_> = shown.iter().map(|[product, stock]| [*stock, *product]).collect();
    let product = (&handlers.products, product_stream(product_id));
    execute_if(&handlers.stock, &stream, command, product, &based_on, envelope).await
}

/// Executes `command` on `stream` if its version, and that of `other` in the same transaction, are in
/// `based_on`.
async fn execute_if<D, O>(
    handler: &Handler<D>,
    stream: &StreamId,
    command: D::Command,
    (others, other): (&Handler<O>, StreamId),
    based_on: &[[Version; 2]],
    envelope: Envelope,
) -> Result<Done, Error<D::Rejection>>
where
    D: Decider<Command: Clone>,
    O: Decider<Command: Clone>,
{
    for _ in 0..MAX_ATTEMPTS {
        let version = others.load(&other).await?.version;
        let matching = based_on.iter().filter(|[_, of_other]| *of_other == version);
        let mut envelope = envelope.clone();
        envelope.expected = Some(matching.map(|[own, _]| *own).collect());
        envelope.also.push(StreamAppend {
            stream: other.clone(),
            expected: ExpectedVersion::Exact(version),
            events: Vec::new(),
        });
        match handler.execute(stream, command.clone(), envelope).await {
            Err(Error::Conflict(changed)) if changed == other => {}
            outcome => return outcome,
        }
    }
    Err(Error::Contention(stream.clone()))
}

/// Why items cannot be priced.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// Item number `item` names an unknown product.
    #[error("there is no such product")]
    UnknownProduct {
        /// Index of the item in the order, from 0.
        item: usize,
    },
    /// With item number `item`, the items of one product add up to more than [`MAX_PIECES`].
    #[error("the items of one product must be at most {MAX_PIECES} pieces, and add up to {pieces}")]
    TooManyPieces {
        /// Index of the item in the order, from 0.
        item: usize,
        /// Sum of the pieces.
        pieces: u64,
    },
    /// A product could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Returns the order lines of `items`, product and pieces, at today's names and prices. Items of one
/// product become one line, whose sum of pieces is limited.
pub async fn price_items(
    handlers: &Handlers,
    items: &[(Uuid, u32)],
) -> Result<Vec<(Line, Currency)>, PricingError> {
    let mut lines: Vec<(Line, Currency)> = Vec::with_capacity(items.len());
    let mut line_of: HashMap<Uuid, usize> = HashMap::new();
    for (item, &(product_id, quantity)) in items.iter().enumerate() {
        if let Some(&line) = line_of.get(&product_id) {
            let pieces = u64::from(lines[line].0.quantity) + u64::from(quantity);
            let fits = u32::try_from(pieces).ok().filter(|pieces| *pieces <= MAX_PIECES);
            lines[line].0.quantity = fits.ok_or(PricingError::TooManyPieces { item, pieces })?;
            continue;
        }
        match handlers.products.load(&product_stream(product_id)).await?.state {
            Product::Unknown => return Err(PricingError::UnknownProduct { item }),
            Product::Listed { sku, name, price, currency } => {
                line_of.insert(product_id, lines.len());
                lines.push((Line { product_id, sku, name, quantity, price }, currency));
            }
        }
    }
    Ok(lines)
}
