//! Consumers over HTTP: how far each is behind the log, and rebuilds of read models.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use projections::{Rebuild, RebuildError, Status};

use super::prelude::*;
use super::request_trace::RequestTrace;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(rebuild))
}

/// List the consumers of the log
///
/// How far each is behind the log: projections, process managers, the publisher of alerts, and the
/// relay.
#[utoipa::path(
    get, path = "/api/v1/projections", tag = tags::OPERATIONS,
    responses((status = 200, description = "All consumers", body = Page<Status>),
        (status = 403, description = "The caller is not an operator")),
)]
async fn list(State(api): State<Arc<Api>>, _: Operator) -> Result<Json<Page<Status>>, Problem> {
    let items = projections::statuses(&api.store, &crate::consumer_names()).await?;
    Ok(Json(Page { items }))
}

/// Show one consumer of the log
#[utoipa::path(
    get, path = "/api/v1/projections/{name}", tag = tags::OPERATIONS,
    params(("name" = String, Path, description = "Name of a consumer in the list")),
    responses((status = 200, description = "The consumer", body = Status)),
)]
async fn show(
    State(api): State<Arc<Api>>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Json<Status>, Problem> {
    status(&api, &name).await.map(Json)
}

async fn status(api: &Api, name: &str) -> Result<Status, Problem> {
    let consumers = crate::consumer_names();
    let known = consumers.iter().filter(|known| **known == name).copied().collect::<Vec<_>>();
    let mut statuses = projections::statuses(&api.store, &known).await?;
    statuses.pop().ok_or_else(|| Problem::not_found("projection"))
}

/// Rebuild a read model from the log
///
/// The rebuild fills a shadow schema while the read model stays in use, and swaps the two once it
/// has caught up. A rebuild that the end of the process interrupts resumes at the next request.
#[utoipa::path(
    post, path = "/api/v1/projections/{name}/rebuild", tag = tags::OPERATIONS,
    params(("name" = String, Path, description = "Name of a projection")),
    responses((status = 202, description = "Started; `Location` shows its progress", body = Status),
        (status = 409, description = "A rebuild is running already (`rebuild_is_running`), or is not possible now (`cannot_be_rebuilt`)")),
)]
async fn rebuild(
    State(api): State<Arc<Api>>,
    Operator(caller): Operator,
    trace: RequestTrace,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let rebuild = Rebuild::begin(&api.store, &name, Duration::ZERO).await?;
    tracing::info!(projection = name, by = caller.subject, "rebuild requested");
    api.rebuilds.run(rebuild, &trace.trace_id(), api.shutdown.clone());
    let location = format!("/api/v1/projections/{name}");
    let status = status(&api, &name).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(status)).into_response())
}

impl From<RebuildError> for Problem {
    fn from(error: RebuildError) -> Self {
        let detail = error.to_string();
        match error {
            RebuildError::Unknown(_) => Self::not_found("projection"),
            RebuildError::Database(error) => error.into(),
            RebuildError::Log(error) => error.into(),
            RebuildError::Busy(_) => Self::new(StatusCode::CONFLICT, "rebuild_is_running", detail),
            RebuildError::NoModel(_)
            | RebuildError::OtherVersion(_)
            | RebuildError::Restless(_)
            | RebuildError::StillRead(_)
            | RebuildError::Interrupted(_) => {
                Self::new(StatusCode::CONFLICT, "cannot_be_rebuilt", detail)
            }
        }
    }
}
