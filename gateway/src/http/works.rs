//! Works over HTTP: ask for one, look at them.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::works::{Command, stream};
use eventsourcing::Version;
use projections::works::{self, Filter, Row};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::events::{self, EventRow};
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Answer, Asked, CommandHeaders};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};
use crate::work_code::work_code;

/// The projection that answers here.
const PROJECTION: &str = "works";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(demand, list)).routes(routes!(get)).routes(routes!(history))
}

/// A demand for a work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkDemand)]
pub(super) struct Demand {
    /// The numbers from 0 to this one are added up; drawn at random if left out.
    // An `int32`, which utoipa makes of it, would end at half of what a `u32` holds.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    add_up_to: Option<u32>,
}

/// Demand a work
///
/// It is done by a worker, later; look at `Location` to see how it goes.
#[utoipa::path(
    post, path = "/api/v1/works", tag = tags::WORKS, params(CommandHeaders), request_body = Demand,
    responses((status = 202, description = "Demanded", body = Row)),
)]
async fn demand(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Json { value, bytes }: Json<Demand>,
) -> Result<Response, Problem> {
    let row = new_row(value.add_up_to.unwrap_or_else(rand::random));
    let location = format!("/api/v1/works/{}", row.id);
    let answer = Answer::new(StatusCode::ACCEPTED, location, Version(row.version), &row)?;
    let command = Command::Demand {
        work_code: row.work_code,
        add_up_to: value.add_up_to.unwrap_or(u32::try_from(row.add_up_to).unwrap_or(u32::MAX)),
    };
    let envelope = asked.envelope(&bytes, &answer)?;
    let done = api.handlers.works.create(&stream(row.id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// A work as it will be shown once the read model has it.
fn new_row(add_up_to: u32) -> Row {
    let now = Utc::now();
    Row {
        id: Uuid::now_v7(),
        work_code: work_code("api"),
        add_up_to: add_up_to.into(),
        done: false,
        result: None,
        status: works::STATUSES[0].to_owned(),
        attempts: 0,
        reason: None,
        created_on: now.timestamp(),
        updated_on: now.timestamp(),
        version: 1,
        created_at: now,
    }
}

/// Which works.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only those that are done, or are not.
    done: Option<bool>,
    /// Only those of this status: demanded, claimed, started, completed, failed, `given_up`.
    status: Option<String>,
    /// Only the one with this code.
    work_code: Option<String>,
    /// Created then or later (RFC 3339).
    created_from: Option<DateTime<Utc>>,
    /// Created before then (RFC 3339).
    created_to: Option<DateTime<Utc>>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List works, newest first
#[utoipa::path(
    get, path = "/api/v1/works", tag = tags::WORKS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of works", body = Page<Row>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let limit = query.limit;
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let filter = query.filter()?;
    let rows = works::list(api.store.pool(), &filter, after, limit.into()).await?;
    page::full(&uri, rows, limit, position, |last| (last.created_at, last.id))
}

impl ListQuery {
    fn filter(self) -> Result<Filter, Problem> {
        if let Some(status) = &self.status
            && !works::STATUSES.contains(&status.as_str())
        {
            let detail = format!("one of {}", works::STATUSES.join(", "));
            return Err(Problem::parameter("status", detail));
        }
        Ok(Filter {
            done: self.done,
            status: self.status,
            work_code: self.work_code,
            created_from: self.created_from,
            created_to: self.created_to,
        })
    }
}

/// Show one work
#[utoipa::path(
    get, path = "/api/v1/works/{id}", tag = tags::WORKS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The work", body = Row),
        (status = 404, description = "There is no such work")),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = works::get(api.store.pool(), id).await?;
    let row = row.ok_or_else(|| Problem::not_found("work"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// Show what happened to a work, event by event
#[utoipa::path(
    get, path = "/api/v1/works/{id}/events", tag = tags::WORKS,
    params(("id" = Uuid, Path), events::StreamQuery),
    responses((status = 200, description = "Its events, oldest first", body = Page<EventRow>,
        headers(("Tributary-Position" = i64, description = "Position of the last one shown"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 404, description = "There is no such work")),
)]
async fn history(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<Uuid>,
    Query(query): Query<events::StreamQuery>,
) -> Result<Response, Problem> {
    events::of_stream(&api, &uri, &stream(id), &query, "work").await
}
