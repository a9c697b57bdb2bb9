//! Operations: where the read models stand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use projections::Status;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Operator;
use super::page::Page;
use super::problem::Problem;
use super::{Api, tags};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Show how far every reader is behind the log
///
/// Every projection, and every process manager.
#[utoipa::path(
    get, path = "/api/v1/projections", tag = tags::OPERATIONS,
    responses((status = 200, description = "Every one there is", body = Page<Status>),
        (status = 403, description = "Not an operator")),
)]
async fn list(State(api): State<Arc<Api>>, _: Operator) -> Result<Json<Page<Status>>, Problem> {
    let items = projections::statuses(&api.store, &crate::readers()).await?;
    Ok(Json(Page { items }))
}
