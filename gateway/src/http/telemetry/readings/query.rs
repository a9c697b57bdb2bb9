//! The query of a list of readings: which ones, in which order and form.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{FieldPath, TimeWindow};
use projections::telemetry::{DeviceFields, Range};
use sqlx::PgPool;

use super::super::super::bucket;
use super::super::super::prelude::*;
use super::source::{Source, bucket_names, check_known};

/// Which readings, in which order and form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ReadingsQuery {
    /// Only readings of this time or later (RFC 3339, with an offset).
    from: Option<DateTime<Utc>>,
    /// Only readings before this time (RFC 3339, with an offset). In buckets, too, only readings from
    /// `from` to `to` count.
    to: Option<DateTime<Utc>>,
    /// Only these fields of the readings, separated by commas: names, dotted paths (`power.volts`) or
    /// JSON pointers (`/power/volts`). A field that the device has not sent is refused; each is given once.
    /// One whose name is that of a column of every reading, such as `time` or `position`, or begins with
    /// `fields.`, is in the column `fields.NAME`.
    fields: Option<String>,
    /// `asc` (default): oldest first; `desc`: newest first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Width of the time buckets: `1m`, `1h`, `1d` or a multiple. The default are single readings.
    #[param(value_type = Option<String>, example = "5m")]
    pub(super) bucket: Option<String>,
    /// In a CSV of buckets, one row for each bucket and one column for each field, which holds this
    /// value of the field. The default is one row for each bucket and field.
    #[param(inline)]
    pub(super) wide: Option<Aggregate>,
    /// Most items on the page (default 100; for CSV, everything).
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    pub(super) limit: Option<Limit>,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    pub(super) cursor: Option<Cursor>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// A value of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aggregate {
    Count,
    Min,
    Max,
    Avg,
    First,
    Last,
}

impl Aggregate {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

impl ReadingsQuery {
    pub(super) fn source(
        &self,
        pool: PgPool,
        user_id: String,
        device_id: String,
        device: DeviceFields,
        is_csv: bool,
    ) -> Result<Source, Problem> {
        let fields = self.fields()?;
        let buckets = if let Some(width) = &self.bucket {
            Some((bucket::width(width)?, bucket_names(&device, &fields)?))
        } else {
            check_known(&device, &fields)?;
            None
        };
        let range = self.range(is_csv);
        Ok(Source { pool, user_id, device_id, device, range, fields, buckets })
    }

    fn range(&self, is_csv: bool) -> Range {
        let default = if is_csv { Limit::MOST } else { Limit::default() };
        let earliest = DateTime::from_timestamp(TimeWindow::EARLIEST, 0).unwrap_or_default();
        let latest = Utc::now() + TimeWindow::MAX_AHEAD + Duration::from_hours(1);
        Range {
            from: self.from.unwrap_or(earliest),
            to: self.to.unwrap_or(latest),
            descending: self.order == Order::Desc,
            limit: self.limit.unwrap_or(default).into(),
        }
    }

    /// The requested fields, each once; empty for all.
    pub(super) fn fields(&self) -> Result<Vec<FieldPath>, Problem> {
        let names = self.fields.iter().flat_map(|names| names.split(','));
        let mut fields = Vec::new();
        for name in names.filter(|name| !name.is_empty()) {
            let path = FieldPath::parse(name)
                .map_err(|error| Problem::parameter("fields", format!("`{name}`: {error}")))?;
            if !fields.contains(&path) {
                fields.push(path);
            }
        }
        Ok(fields)
    }
}
