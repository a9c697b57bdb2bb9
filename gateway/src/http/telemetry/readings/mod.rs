//! Readings of one device: as they were recorded, or by buckets of time; as JSON or as CSV.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::telemetry::Reading;
use eventsourcing::Position;
use projections::telemetry::{self, Bucket, Range, ReadingRow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::super::caller::Caller;
use super::super::extract::{Path, Query};
use super::super::page::{self, Cursor, Limit};
use super::super::problem::Problem;
use super::super::receipt::POSITION;
use super::super::wait::{self, QueryHeaders};
use super::super::{Api, bucket, tags};
use super::PROJECTION;

/// Fields one bucket may hold beyond a page's limit: a page ends between buckets, not in one.
const BUCKET_FIELDS: i64 = 256;

/// Which readings, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ReadingsQuery {
    /// Measured then or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Measured before then (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Only these fields, separated by commas.
    fields: Option<String>,
    /// Oldest first unless `desc`.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Width of the buckets: `1m`, `1h`, `1d` or a multiple. The readings themselves if left out.
    #[param(value_type = Option<String>, example = "5m")]
    bucket: Option<String>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
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

/// What a page of readings holds: one or the other, by `bucket`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "rows are cut to the fields asked for; this is for the document")]
enum Item {
    Reading(ReadingRow),
    Bucket(Bucket),
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the document")]
struct Readings {
    items: Vec<Item>,
}

/// List the readings of a device
///
/// With `bucket`, what they amount to in each stretch of time: count, least, greatest, average,
/// first and last of every numeric field. `Accept: text/csv` answers with a table.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/devices/{device_id}/readings", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), ("device_id" = String, Path), ReadingsQuery, QueryHeaders),
    responses((status = 200, description = "A page of readings", headers(
        ("Tributary-Position" = i64, description = "How far the read model is"),
        ("Link" = String, description = "The next page, `rel=\"next\"`")), content(
        (Readings = "application/json"), (String = "text/csv"))),
        (status = 404, description = "There is no such device")),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    caller: Caller,
    headers: HeaderMap,
    Path((user_id, device_id)): Path<(String, String)>,
    Query(query): Query<ReadingsQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    if !caller.sees(&user_id) {
        return Err(Problem::not_found("device"));
    }
    let table = query.table(&api, &user_id, &device_id).await?;
    let known = !table.rows.is_empty()
        || telemetry::device(api.store.pool(), &user_id, &device_id).await?.is_some();
    if !known {
        return Err(Problem::not_found("device"));
    }
    let next = table.next.as_ref().map(Cursor::to).transpose()?;
    let next = next.map(|cursor| ("cursor", cursor.into()));
    if !wants_csv(&headers) {
        return Ok(page::respond(&uri, table.rows, next, position));
    }
    Ok(csv_response(&uri, &table, next, position))
}

/// A page as rows of named values, which is what JSON and CSV have in common.
struct Table {
    columns: Vec<String>,
    rows: Vec<Map<String, Value>>,
    /// Time and position the next page goes on after.
    next: Option<(DateTime<Utc>, i64)>,
}

impl ReadingsQuery {
    async fn table(&self, api: &Api, user_id: &str, device_id: &str) -> Result<Table, Problem> {
        let fields = self.fields();
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
        let rows = readings.iter().map(|row| reading_row(row, &fields));
        Ok(Table { columns: reading_columns(&fields), rows: rows.collect::<Result<_, _>>()?, next })
    }

    fn range(&self) -> Result<Range, Problem> {
        let earliest = DateTime::from_timestamp(Reading::EARLIEST, 0).unwrap_or_default();
        let latest = Utc::now() + TimeDelta::hours(Reading::MAX_HOURS_AHEAD + 1);
        Ok(Range {
            from: self.from.unwrap_or(earliest),
            to: self.to.unwrap_or(latest),
            descending: self.order == Order::Desc,
            limit: self.limit.into(),
            after: self.cursor.as_ref().map(Cursor::read).transpose()?,
        })
    }

    fn fields(&self) -> Vec<String> {
        let names = self.fields.iter().flat_map(|names| names.split(','));
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

/// As many whole buckets as make at least `limit` rows.
fn bucket_table(buckets: Vec<Bucket>, limit: usize, more: bool) -> Result<Table, Problem> {
    let starts_another = |index: &usize| buckets[*index].time != buckets[*index - 1].time;
    let mut boundaries = (1..buckets.len()).filter(starts_another);
    let end = boundaries.clone().find(|index| *index >= limit);
    // Without a boundary beyond the limit, what is left is one bucket, perhaps cut off.
    let end = end.or_else(|| boundaries.next_back().filter(|_| more)).unwrap_or(buckets.len());
    let next = (end < buckets.len()).then(|| (buckets[end - 1].time, 0));
    let rows = buckets[..end].iter().map(object);
    Ok(Table {
        columns: ["time", "field", "count", "min", "max", "avg", "first", "last"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect::<Result<_, _>>()?,
        next,
    })
}

fn object(row: &impl Serialize) -> Result<Map<String, Value>, Problem> {
    match serde_json::to_value(row) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// What every reading shows, whatever fields are asked for.
const ALWAYS: [&str; 5] = ["time", "received_at", "sequence_id", "boot_id", "position"];

fn reading_columns(fields: &[String]) -> Vec<String> {
    let all = ["temperature", "battery", "extra_data"].map(str::to_owned);
    let wanted = if fields.is_empty() { &all } else { fields };
    ALWAYS.iter().map(|&name| name.to_owned()).chain(wanted.iter().cloned()).collect()
}

/// A reading, cut to `fields` if any are named; further fields then stand beside the known ones.
fn reading_row(reading: &ReadingRow, fields: &[String]) -> Result<Map<String, Value>, Problem> {
    let mut row = object(reading)?;
    if fields.is_empty() {
        return Ok(row);
    }
    let extra = row.remove("extra_data").unwrap_or_default();
    let chosen = fields.iter().map(|name| {
        let value = row.get(name).or_else(|| extra.get(name));
        (name.clone(), value.cloned().unwrap_or_default())
    });
    let chosen: Vec<_> = chosen.collect();
    row.retain(|name, _| ALWAYS.contains(&name.as_str()));
    row.extend(chosen);
    Ok(row)
}

fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|text| text.split(',').any(|kind| kind.trim().starts_with("text/csv")))
}

fn csv_response(
    uri: &axum::http::Uri,
    table: &Table,
    next: Option<(&str, String)>,
    position: Position,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/csv; charset=utf-8".to_owned()),
        (POSITION, position.to_string()),
    ];
    let mut response = (headers, csv(table)).into_response();
    page::link(&mut response, uri, next);
    response
}

/// RFC 4180.
fn csv(table: &Table) -> String {
    let quoted = |text: String| {
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    };
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line =
        |cells: Vec<String>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\r\n";
    let rows = table.rows.iter().map(|row| {
        let cells = table.columns.iter().map(|name| row.get(name).map(cell).unwrap_or_default());
        line(cells.collect())
    });
    line(table.columns.clone()) + &rows.collect::<String>()
}

#[cfg(test)]
mod tests;
