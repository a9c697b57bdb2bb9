//! Verification of the log over HTTP: what `tributary verify` does, in the background of this process.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::prelude::*;
use crate::verification::Verification;

/// Path of the last verification.
const LAST: &str = "/api/v1/verifications/last";

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(start)).routes(routes!(last))
}

/// Verify the log
///
/// Checks every event from the first to the present head: hash, position, version, and what refers to it,
/// as `tributary verify` does. One verification runs at a time in a process, and reads at half speed so that
/// others are hardly slowed down.
#[utoipa::path(
    post, path = "/api/v1/verifications", tag = tags::OPERATIONS,
    responses((status = 202, description = "Started; `Location` shows its progress", body = Verification),
        (status = 403, description = "The caller is not an operator"),
        (status = 409, description = "A verification is running already (`verification_is_running`)")),
)]
async fn start(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
) -> Result<Response, Problem> {
    if !api.verifications.start(&api.store, api.shutdown.clone()) {
        let detail = "this process verifies the log already; GET /api/v1/verifications/last shows \
                      the progress";
        return Err(Problem::new(StatusCode::CONFLICT, "verification_is_running", detail));
    }
    tracing::info!(by = caller.subject, "verification requested");
    let last = Body(api.verifications.last());
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, LAST)], last).into_response())
}

/// Show the last verification of the log
///
/// Of this process since its start, with its progress while it runs.
#[utoipa::path(
    get, path = "/api/v1/verifications/last", tag = tags::OPERATIONS,
    responses((status = 200, description = "The last verification", body = Verification),
        (status = 403, description = "The caller is not an operator")),
)]
async fn last(State(api): State<Arc<Api>>, _: Operator) -> Body<Verification> {
    Body(api.verifications.last())
}
