//! Page views over HTTP: recorded without a token, summarized for signed-in callers.

mod record;
mod stats;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(stats::stats))
}

/// Routes without a token.
pub(super) fn open_routes() -> Routes {
    Routes::new().routes(routes!(record::record))
}
