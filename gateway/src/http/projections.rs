//! Operations: where the read models stand, and making one anew.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use projections::{Purpose, Rebuild, RebuildError, Status, Step};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Operator;
use super::extract::Path;
use super::page::Page;
use super::problem::Problem;
use super::{Api, tags};

/// Rebuilds that run at a time in one process; further ones wait. Bounds the memory.
const REBUILDS_AT_ONCE: usize = 2;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(rebuild))
}

/// Show how far every reader is behind the log
///
/// Every projection, every process manager, and what publishes: alerts, and the log itself.
#[utoipa::path(
    get, path = "/api/v1/projections", tag = tags::OPERATIONS,
    responses((status = 200, description = "Every one there is", body = Page<Status>),
        (status = 403, description = "Not an operator")),
)]
async fn list(State(api): State<Arc<Api>>, _: Operator) -> Result<Json<Page<Status>>, Problem> {
    let items = projections::statuses(&api.store, &crate::consumer_names()).await?;
    Ok(Json(Page { items }))
}

/// Show how far one reader is behind the log
#[utoipa::path(
    get, path = "/api/v1/projections/{name}", tag = tags::OPERATIONS,
    params(("name" = String, Path, description = "Of any of them, as the list has it")),
    responses((status = 200, description = "Where it stands", body = Status)),
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

/// Make a read model anew from the log
///
/// It is filled beside the one that serves, and takes its place once it is as far. Should the
/// process end before that, what was done is kept: asked again, it goes on there.
#[utoipa::path(
    post, path = "/api/v1/projections/{name}/rebuild", tag = tags::OPERATIONS,
    params(("name" = String, Path, description = "Of a projection")),
    responses((status = 202, description = "It begins; `Location` shows how far it is", body = Status),
        (status = 409, description = "It is being rebuilt already, or was never made")),
)]
async fn rebuild(
    State(api): State<Arc<Api>>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let begun = Rebuild::begin(&api.store, &name, Duration::ZERO).await.map_err(refusal)?;
    api.rebuilds.run(begun, api.shutdown.clone());
    let location = format!("/api/v1/projections/{name}");
    let status = status(&api, &name).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(status)).into_response())
}

fn refusal(error: RebuildError) -> Problem {
    let detail = error.to_string();
    match error {
        RebuildError::Unknown(_) => Problem::not_found("projection"),
        RebuildError::Database(error) => error.into(),
        RebuildError::Busy(_) => Problem::new(StatusCode::CONFLICT, "rebuild_is_running", detail),
        RebuildError::NoModel(_)
        | RebuildError::OtherVersion(_)
        | RebuildError::Restless(_)
        | RebuildError::StillRead(_)
        | RebuildError::Interrupted(_) => {
            Problem::new(StatusCode::CONFLICT, "cannot_be_rebuilt", detail)
        }
    }
}

/// The rebuilds this process was asked for.
#[derive(Debug)]
pub struct Rebuilds {
    tasks: TaskTracker,
    permits: Arc<Semaphore>,
}

impl Rebuilds {
    /// They run on `tasks`.
    pub fn new(tasks: TaskTracker) -> Self {
        Self { tasks, permits: Arc::new(Semaphore::new(REBUILDS_AT_ONCE)) }
    }

    fn run(&self, begun: Rebuild, shutdown: CancellationToken) {
        let permits = Arc::clone(&self.permits);
        self.tasks.spawn(shutdown.run_until_cancelled_owned(async move {
            let Ok(_permit) = permits.acquire().await else { return };
            let name = begun.name();
            let (step, _) = watch::channel(Step::default());
            match begun.run(Purpose::Replace, &step).await {
                Ok(done) => tracing::info!(
                    projection = name,
                    events = done.events,
                    position = done.position,
                    seconds = done.seconds,
                    parked = done.parked,
                    "rebuilt",
                ),
                Err(error) => tracing::error!(projection = name, %error, "not rebuilt"),
            }
        }));
    }
}
