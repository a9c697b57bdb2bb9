//! Page views over HTTP: recorded without a token, summarized for signed-in callers.

mod record;
mod stats;

use super::prelude::*;

/// The path to which page views are posted.
pub(super) const RECORD: &str = "/api/v1/page-views";

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(stats::stats))
}

/// Routes without a token.
pub(super) fn open_routes() -> Routes {
    Routes::new().routes(routes!(record::record))
}
