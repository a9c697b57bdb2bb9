//! The readings or buckets of a device, page by page, as rows of named values.

use chrono::{DateTime, Utc};
use domain::FieldPath;
use projections::telemetry::{self, BucketCursor, DeviceFields, Range};
use sqlx::PgPool;

use super::super::super::prelude::*;
use super::row::Row;

/// A page of rows.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Where the next page begins.
    pub(super) next: Option<After>,
}

/// The last item of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum After {
    /// Time and position of a reading.
    Reading(DateTime<Utc>, i64),
    Bucket(BucketCursor),
}

/// The readings or buckets of a query, page by page.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) pool: PgPool,
    pub(super) user_id: String,
    pub(super) device_id: String,
    pub(super) device: DeviceFields,
    pub(super) range: Range,
    /// The requested fields of readings; empty for all.
    pub(super) fields: Vec<FieldPath>,
    /// Width of the buckets in seconds, and the names of the requested fields; `None` for readings.
    pub(super) buckets: Option<(i32, Vec<String>)>,
}

impl Source {
    /// Returns the page after this item.
    pub(super) async fn page(&self, after: Option<After>) -> Result<Rows, Problem> {
        let Self { pool, user_id, device_id, device, range, fields, buckets } = self;
        let full = |rows: usize| i64::try_from(rows).is_ok_and(|rows| rows == range.limit);
        match (buckets, &after) {
            (Some((width, names)), None | Some(After::Bucket(_))) => {
                let after = after.as_ref().and_then(After::bucket);
                let buckets = telemetry::buckets(pool, device, *width, names, range, after).await?;
                let next = buckets.last().filter(|_| full(buckets.len()));
                let next = next.map(|last| After::Bucket(last.cursor()));
                let rows = buckets.iter().map(Row::of).collect::<Result<_, _>>()?;
                Ok(Rows { rows, next })
            }
            (None, None | Some(After::Reading(..))) => {
                let after = after.as_ref().and_then(After::reading);
                let readings = telemetry::readings(pool, user_id, device_id, range, after).await?;
                let next = readings.last().filter(|_| full(readings.len()));
                let next = next.map(|last| After::Reading(last.time, last.position));
                let rows = readings.iter().map(|reading| Row::of_reading(reading, fields));
                Ok(Rows { rows: rows.collect::<Result<_, _>>()?, next })
            }
            (_, Some(_)) => {
                let detail = "must be a cursor from the `Link` header of this list";
                Err(Problem::parameter("cursor", detail))
            }
        }
    }
}

impl After {
    fn bucket(&self) -> Option<&BucketCursor> {
        match self {
            Self::Bucket(cursor) => Some(cursor),
            Self::Reading(..) => None,
        }
    }

    fn reading(&self) -> Option<(DateTime<Utc>, i64)> {
        match self {
            Self::Reading(time, position) => Some((*time, *position)),
            Self::Bucket(_) => None,
        }
    }
}

/// Most names in the detail of a problem.
const NAMES: usize = 50;

/// A list of names, of which the first ones are enough.
fn names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<_> = names.collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let list = names.join("`, `");
    if more > 0 { format!("`{list}` and {more} more") } else { format!("`{list}`") }
}

/// Refuses fields that the device has never sent.
pub(super) fn check_known(device: &DeviceFields, fields: &[FieldPath]) -> Result<(), Problem> {
    match fields.iter().find(|path| !device.knows(path)) {
        None => Ok(()),
        Some(unknown) => {
            let names = names(device.all());
            let detail = format!("the device has no field `{unknown}`; it has {names}");
            Err(Problem::parameter("fields", detail))
        }
    }
}

/// The names of the fields of buckets; refuses those that have none.
pub(super) fn bucket_names(
    device: &DeviceFields,
    fields: &[FieldPath],
) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    for path in fields {
        let name = device.bucket_name(path).ok_or_else(|| {
            let names = names(device.with_buckets());
            let detail = format!(
                "`{path}` has no buckets: it is not a number, the device has not sent it, or it is \
                 beyond the most fields with buckets; those with buckets are {names}"
            );
            Problem::parameter("fields", detail)
        })?;
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Ok(found)
}
