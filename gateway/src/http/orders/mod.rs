//! The shop over HTTP: orders, products and their stock.

mod conservation;
mod order;
mod product;
mod stuck;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(order::place, order::list))
        .routes(routes!(order::get))
        .routes(routes!(stuck::list))
        .routes(routes!(order::cancel))
        .routes(routes!(order::ship))
        .routes(routes!(product::add, product::list))
        .routes(routes!(product::get, product::change))
        .routes(routes!(product::stock))
        .routes(routes!(conservation::show))
}
