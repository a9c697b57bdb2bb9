//! Readings of one device: single readings or time buckets, as JSON or CSV.

mod csv;
mod query;
mod row;
mod source;

use axum::http::header;
use axum::response::IntoResponse;
use projections::telemetry::{self, Bucket, ReadingRow, Telemetry};

use super::super::headers::POSITION;
use super::super::negotiation::{self, Format};
use super::super::prelude::*;
use csv::Csv;
use query::ReadingsQuery;
use source::Rows;

/// An item of a page of readings: a bucket if the query has `bucket`, else a reading.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "rows hold only the requested fields; this is for the document")]
enum Item {
    Reading(ReadingRow),
    Bucket(Bucket),
}

/// A page of readings or buckets.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document")]
struct Readings {
    /// The items, in the requested order.
    items: Vec<Item>,
}

/// List the readings of a device
///
/// With `bucket`, the count, minimum, maximum, average, first and last value of every numeric field
/// in each time bucket. `Accept: text/csv` returns a table: without `limit`, everything that is asked
/// for, as a stream. The format is that of the higher quality in `Accept`, and JSON if it names neither.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/devices/{device_id}/readings", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), ("device_id" = String, Path), ReadingsQuery, QueryHeaders),
    responses((status = 200, description = "A page of readings", headers(
        ("Tributary-Position" = i64, description = "Position that the read model has applied"),
        ("Link" = String, description = "The next page, `rel=\"next\"`")), content(
        (Readings = "application/json"), (String = "text/csv"))),
        (status = 404, description = "There is no such device, or it is not visible to this caller")),
)]
pub(super) async fn list(
    caller: Caller,
    context: QueryContext,
    format: Format,
    Path((user_id, device_id)): Path<(String, String)>,
    Query(query): Query<ReadingsQuery>,
) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let position = context.wait(Telemetry::NAME).await?;
    if !caller.sees_devices_of(&context.api, &user_id).await? {
        return Err(Problem::not_found("device"));
    }
    let device = telemetry::device_fields(context.pool(), &user_id, &device_id).await?;
    let device = device.ok_or_else(|| Problem::not_found("device"))?;
    let is_csv = format == Format::Csv;
    let is_whole = is_csv && query.limit.is_none();
    let table = Csv::new(&query, &device)?;
    let source = query.source(context.pool().clone(), user_id, device_id, device, is_csv)?;
    let Rows { rows, next } = source.page(after).await?;
    if !is_csv {
        let next = page::next(next.as_ref())?;
        let mut response = page::respond(&context.uri, rows, next, position);
        response.headers_mut().extend([negotiation::VARY]);
        return Ok(response);
    }
    let more = next.clone().filter(|_| is_whole);
    let slot = more.as_ref().map(|_| context.api.admission.stream(&caller.subject)).transpose()?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/csv; charset=utf-8".to_owned()),
        (POSITION, position.to_string()),
    ];
    let mut response = (headers, csv::body(table, source, rows, more, slot)).into_response();
    response.headers_mut().extend([negotiation::VARY]);
    if !is_whole {
        page::link(&mut response, &context.uri, page::next(next.as_ref())?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
