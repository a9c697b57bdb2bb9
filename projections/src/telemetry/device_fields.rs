//! The fields of a device: which ones have buckets, and which ones it has sent at all.

use domain::FieldPath;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool};

use super::rollup::ALWAYS;

/// The fields that a device has sent, by their paths.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DeviceFields {
    pub(super) user_id: String,
    pub(super) device_id: String,
    pub(super) number: i64,
    /// Those that have buckets, besides temperature and battery.
    fields: Json<Vec<String>>,
    other_fields: Json<Vec<String>>,
    /// Whether it may have sent further fields: those beyond the limit are not stored.
    is_partial: bool,
}

/// Returns the fields of a device; `None` if there is no such device.
pub async fn device_fields(
    pool: &PgPool,
    user_id: &str,
    device_id: &str,
) -> Result<Option<DeviceFields>, sqlx::Error> {
    sqlx::query_as(
        "select user_id, device_id, number, fields, other_fields,
                values_not_aggregated > 0
                or jsonb_array_length(other_fields) >= (select fields_per_device from telemetry.limits)
                  as is_partial
         from telemetry.device where user_id = $1 and device_id = $2",
    )
    .bind(user_id)
    .bind(device_id)
    .fetch_optional(pool)
    .await
}

impl DeviceFields {
    /// Returns the names of the fields that have buckets.
    pub fn with_buckets(&self) -> impl Iterator<Item = &str> {
        ALWAYS.into_iter().chain(self.fields.iter().map(String::as_str))
    }

    /// Returns the names of all fields.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.with_buckets().chain(self.other_fields.iter().map(String::as_str))
    }

    /// Returns the name under which the field at `path` has buckets; `None` if it has none.
    pub fn bucket_name(&self, path: &FieldPath) -> Option<String> {
        let name = path.field_name();
        let has = |name: &str| self.with_buckets().any(|known| known == name);
        [path.as_str().to_owned(), name].into_iter().find(|name| has(name))
    }

    /// Returns whether the device may have sent the field at `path`. An item of an array is known with
    /// its array.
    pub fn knows(&self, path: &FieldPath) -> bool {
        let has = |path: &FieldPath| {
            let name = path.field_name();
            self.all().any(|known| known == name || known == path.as_str())
        };
        self.is_partial || has(path) || path.array().is_some_and(|array| has(&array))
    }
}
