//! Works over HTTP: demand one, list and show them, and list the events of one.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use chrono::{DateTime, Utc};
use domain::works::{Command, stream};
use eventsourcing::Version;
use projections::ByName;
use projections::works::{self, Filter, Row, StatusName, Works};

use super::event_view::EventRow;
use super::events::{self, StreamQuery};
use super::prelude::*;
use crate::work_code::work_code;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(demand, list)).routes(routes!(get)).routes(routes!(history))
}

/// A demand for a work.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkDemand)]
pub(super) struct Demand {
    /// The work adds up the numbers from 0 to this one. The default is a random number.
    // utoipa would make it an `int32`, whose maximum is half of what a `u32` holds.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    add_up_to: Option<u32>,
}

/// Demand a work
///
/// A worker executes it later; `Location` shows its progress.
#[utoipa::path(
    post, path = "/api/v1/works", tag = tags::WORKS, params(CommandHeaders), request_body = Demand,
    responses((status = 202, description = "The demand is recorded", body = Row)),
)]
async fn demand(
    context: CommandContext,
    Json { value }: Json<Demand>,
) -> Result<Response, Problem> {
    let add_up_to = value.add_up_to.unwrap_or_else(rand::random);
    let row = Row::demanded(Uuid::now_v7(), work_code("api"), add_up_to, Utc::now());
    let location = format!("/api/v1/works/{}", row.id);
    let response = StoredResponse::new(StatusCode::ACCEPTED, location, Version(1), &row)?
        .recorded_at(&["/created_at", "/updated_at", "/created_on", "/updated_on"]);
    let (stream, command) =
        (stream(row.id), Command::Demand { work_code: row.work_code, add_up_to });
    let create = |envelope| context.api.handlers.works.create(&stream, command, envelope);
    context.execute(Works::NAME, response, create).await
}

/// Which works.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only works that are done, or only works that are not.
    done: Option<bool>,
    /// Only works with this status.
    #[param(inline)]
    status: Option<StatusName>,
    /// Only the work with this code.
    work_code: Option<String>,
    /// Only works created at this time or later (RFC 3339).
    created_from: Option<DateTime<Utc>>,
    /// Only works created before this time (RFC 3339).
    created_to: Option<DateTime<Utc>>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List works, newest first
#[utoipa::path(
    get, path = "/api/v1/works", tag = tags::WORKS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of works", body = Page<Row>)),
)]
async fn list(context: QueryContext, Query(query): Query<ListQuery>) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let filter = Filter {
        done: query.done,
        status: query.status.map(|ByName(status)| status),
        work_code: query.work_code,
        created_from: query.created_from,
        created_to: query.created_to,
    };
    let rows = works::list(context.pool(), &filter, after, query.limit.into());
    let key = |last: &Row| (last.created_at, last.id);
    context.list(Works::NAME, query.limit, rows, key).await
}

/// Show one work
#[utoipa::path(
    get, path = "/api/v1/works/{id}", tag = tags::WORKS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The work", body = Row),
        (status = 404, description = "There is no such work")),
)]
async fn get(context: QueryContext, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let row = works::get(context.pool(), id);
    context.show(Works::NAME, "work", row, |row| Some(row.version)).await
}

/// List the events of a work
///
/// Actor and trace are shown to the actor and to operators only.
#[utoipa::path(
    get, path = "/api/v1/works/{id}/events", tag = tags::WORKS,
    params(("id" = Uuid, Path), StreamQuery),
    responses((status = 200, description = "Events of the work, oldest first", body = Page<EventRow>,
        headers(("Tributary-Position" = i64, description = "Position of the last event shown"),
        ("Link" = String, description = "The events after these, `rel=\"next\"`"))),
        (status = 404, description = "There is no such work")),
)]
async fn history(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    events::of_stream(&api, &uri, &caller, &stream(id), &query, "work").await
}
