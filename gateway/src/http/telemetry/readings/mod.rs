//! Readings of one device: single readings or time buckets, as JSON or CSV.

mod row;

use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use domain::TimeWindow;
use eventsourcing::Position;
use projections::telemetry::{self, Bucket, Range, ReadingRow, Telemetry};

use super::super::bucket;
use super::super::headers::POSITION;
use super::super::page::Next;
use super::super::prelude::*;
use row::Row;

/// Rows of one bucket that a page may hold beyond its limit: a page ends between buckets, never
/// within one. One row per field.
const BUCKET_FIELDS: i64 = 256;

/// Which readings, in which order and form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ReadingsQuery {
    /// Only readings of this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Only readings before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Only these fields of the device, separated by commas; each is given once. A field whose name is
    /// that of a column of every reading (`time`, `received_at`, `sequence_id`, `boot_id`, `position`), or
    /// begins with `fields.`, is in the column `fields.NAME`.
    fields: Option<String>,
    /// `asc` (default): oldest first; `desc`: newest first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Width of the time buckets: `1m`, `1h`, `1d` or a multiple. The default are single readings.
    #[param(value_type = Option<String>, example = "5m")]
    bucket: Option<String>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

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
/// in each time bucket. `Accept: text/csv` returns a table.
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
    headers: HeaderMap,
    Path((user_id, device_id)): Path<(String, String)>,
    Query(query): Query<ReadingsQuery>,
) -> Result<Response, Problem> {
    let position = context.wait(Telemetry::NAME).await?;
    if !caller.sees(&user_id) {
        return Err(Problem::not_found("device"));
    }
    let table = query.table(&context.api, &user_id, &device_id).await?;
    let known = !table.rows.is_empty()
        || telemetry::device(context.pool(), &user_id, &device_id).await?.is_some();
    if !known {
        return Err(Problem::not_found("device"));
    }
    let next = page::next(table.next.as_ref())?;
    if !wants_csv(&headers) {
        return Ok(page::respond(&context.uri, table.rows, next, position));
    }
    Ok(csv_response(&context.uri, &table, next, position))
}

/// A page of rows, and the columns of its CSV.
struct Table {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Time and position after which the next page begins.
    next: Option<(DateTime<Utc>, i64)>,
}

impl ReadingsQuery {
    async fn table(&self, api: &Api, user_id: &str, device_id: &str) -> Result<Table, Problem> {
        let fields = row::requested(self.fields.as_deref());
        let mut range = self.range()?;
        let pool = api.store.pool();
        if let Some(text) = &self.bucket {
            let width = bucket::width(text)?;
            let limit = usize::from(self.limit);
            range.limit += BUCKET_FIELDS;
            let most = usize::try_from(range.limit).unwrap_or(usize::MAX);
            let buckets =
                telemetry::buckets(pool, user_id, device_id, width, &fields, &range).await?;
            let more = buckets.len() == most;
            return bucket_table(buckets, limit, more);
        }
        let readings = telemetry::readings(pool, user_id, device_id, &range).await?;
        let full = readings.len() == usize::from(self.limit);
        let next = readings.last().filter(|_| full).map(|last| (last.time, last.position));
        let rows = readings.iter().map(|reading| Row::of_reading(reading, &fields));
        Ok(Table { columns: row::columns(&fields), rows: rows.collect::<Result<_, _>>()?, next })
    }

    fn range(&self) -> Result<Range, Problem> {
        let earliest = DateTime::from_timestamp(TimeWindow::EARLIEST, 0).unwrap_or_default();
        let latest = Utc::now() + TimeWindow::MAX_AHEAD + Duration::from_hours(1);
        Ok(Range {
            from: self.from.unwrap_or(earliest),
            to: self.to.unwrap_or(latest),
            descending: self.order == Order::Desc,
            limit: self.limit.into(),
            after: page::after(self.cursor.as_ref())?,
        })
    }
}

/// The fewest whole buckets that make at least `limit` rows. `more`: there may be further rows.
fn bucket_table(buckets: Vec<Bucket>, limit: usize, more: bool) -> Result<Table, Problem> {
    let starts_another = |index: &usize| buckets[*index].time != buckets[*index - 1].time;
    let mut boundaries = (1..buckets.len()).filter(starts_another);
    let end = boundaries.clone().find(|index| *index >= limit);
    // Without a boundary beyond the limit, the last bucket may be incomplete.
    let end = end.or_else(|| boundaries.next_back().filter(|_| more)).unwrap_or(buckets.len());
    let next = (end < buckets.len()).then(|| (buckets[end - 1].time, 0));
    let rows = buckets[..end].iter().map(Row::of);
    Ok(Table {
        columns: ["time", "field", "count", "min", "max", "avg", "first", "last"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect::<Result<_, _>>()?,
        next,
    })
}

fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|text| text.split(',').any(|kind| kind.trim().starts_with("text/csv")))
}

fn csv_response(uri: &axum::http::Uri, table: &Table, next: Next, position: Position) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/csv; charset=utf-8".to_owned()),
        (POSITION, position.to_string()),
    ];
    let mut response = (headers, csv(table)).into_response();
    page::link(&mut response, uri, next);
    response
}

/// The table as CSV (RFC 4180).
fn csv(table: &Table) -> String {
    let quoted = |text: String| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let line =
        |cells: Vec<String>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\r\n";
    let rows = table.rows.iter().map(|row| {
        let cells = table.columns.iter().map(|name| row.cell(name));
        line(cells.collect())
    });
    line(table.columns.clone()) + &rows.collect::<String>()
}

#[cfg(test)]
mod tests;
