//! Documents and the schemas they are validated against, over HTTP.

mod body;
mod document;
mod schema;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(document::record, document::list))
        .routes(routes!(document::get))
        .routes(routes!(schema::register, schema::get))
}
