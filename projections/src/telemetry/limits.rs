//! Limits on what devices may make the read model grow by: fields with rollups, and partitions. They are
//! stored with the tables, so that a rebuild and a comparison apply those of the live ones.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use super::presence::StoredDevice;
use super::rollup::{Admitted, KnownFields, Rollups};

/// Seconds of a week, the width of a partition.
const WEEK: u64 = 7 * 86_400;

/// Limits of the read model of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most fields of `extra_data` that a device has rollups of. Values of further ones are stored with
    /// their readings and counted.
    pub fields_per_device: u32,
    /// Age up to which readings have a partition per week when the tables are created; older ones share
    /// one. Rounded up to weeks.
    pub partitions_back: Duration,
    /// How far ahead of now readings have a partition per week; later ones share one. Rounded up to
    /// weeks.
    pub partitions_ahead: Duration,
}

/// Stores the limits that the projector applies from its next batch on. Returns whether they differ from
/// those before.
pub async fn set_limits(pool: &PgPool, limits: &Limits) -> Result<bool, sqlx::Error> {
    let weeks = |time: Duration| i32::try_from(time.as_secs().div_ceil(WEEK)).unwrap_or(i32::MAX);
    let set = sqlx::query(
        "update telemetry.limits
         set fields_per_device = $1, weeks_back = $2, weeks_ahead = $3
         where (fields_per_device, weeks_back, weeks_ahead) <> ($1, $2, $3)",
    )
    .bind(i32::try_from(limits.fields_per_device).unwrap_or(i32::MAX))
    .bind(weeks(limits.partitions_back))
    .bind(weeks(limits.partitions_ahead))
    .execute(pool)
    .await?;
    Ok(set.rows_affected() > 0)
}

/// Decides which new fields of the batch's devices have rollups, and drops the values of the others from
/// `rollups`. `stored` are the devices before the batch.
pub(super) async fn admit(
    rollups: &mut Rollups,
    stored: &[Option<StoredDevice>],
    connection: &mut PgConnection,
) -> Result<Vec<Admitted>, sqlx::Error> {
    let mut admitted: Vec<_> = stored.iter().map(|_| Admitted::default()).collect();
    let none = KnownFields::default();
    let known = |device: usize| stored[device].as_ref().map_or(&none, |stored| &stored.fields);
    let new: Vec<_> =
        (0..stored.len()).filter(|&device| rollups.has_new(device, known(device))).collect();
    if new.is_empty() {
        return Ok(admitted);
    }
    let quota: i32 =
        sqlx::query_scalar("select fields_per_device from limits").fetch_one(connection).await?;
    let quota = usize::try_from(quota).unwrap_or_default();
    let mut refused = 0;
    for device in new {
        admitted[device] = rollups.admit(device, known(device), quota);
        refused += admitted[device].refused_values;
    }
    let name = "tributary_telemetry_values_not_aggregated_total";
    metrics::counter!(name).increment(refused.unsigned_abs());
    Ok(admitted)
}
