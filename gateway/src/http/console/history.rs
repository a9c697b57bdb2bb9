//! The lag of the last hour.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::super::prelude::*;
use crate::vitals::History;

/// Show the lag of the last hour
///
/// Sampled by this process every ten seconds and kept in its memory: after a restart, the history begins
/// again.
#[utoipa::path(
    get, path = "/api/v1/console/history", tag = tags::OPERATIONS,
    responses((status = 200, description = "The samples, oldest first", body = History),
        (status = 403, description = "The caller is not an operator")),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, _: Operator) -> Json<History> {
    Json(api.vitals.history())
}
