//! Devices: list and show them, each with its latest reading.

use chrono::{DateTime, Utc};
use futures::TryFutureExt;
use projections::telemetry::{self, Device, DeviceCursor, Telemetry};

use super::super::prelude::*;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DevicesQuery {
    /// Only devices of this user.
    user_id: Option<String>,
    /// Only devices that are known to be online, or only those known to be offline.
    online: Option<bool>,
    /// Only devices that have been offline since this time or longer (RFC 3339), the last gone first:
    /// those whose will arrived, and those that were silent for longer than their user allows.
    offline_since: Option<DateTime<Utc>>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List devices, by user and name
///
/// With `offline_since`, by the time when they went offline. Users see only their own devices; operators see all.
#[utoipa::path(
    get, path = "/api/v1/devices", tag = tags::TELEMETRY, params(DevicesQuery, QueryHeaders),
    responses((status = 200, description = "A page of devices", body = Page<Device>, headers(
        ("Tributary-Position" = i64, description = "Position that the read model has applied"),
        ("Link" = String, description = "The next page, `rel=\"next\"`")))),
)]
pub(super) async fn devices(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<DevicesQuery>,
) -> Result<Response, Problem> {
    if let Some(since) = query.offline_since {
        return offline(context, &caller, query, since).await;
    }
    let (user_id, device_id) = page::after(query.cursor.as_ref())?.unwrap_or_default();
    let after = DeviceCursor { user_id, device_id };
    let owners = caller.owners(&context.api).await?.of_list(query.user_id);
    let rows = async {
        let (pool, limit) = (context.pool(), query.limit.into());
        let mut rows = Vec::new();
        // In the order of the list: by user.
        for owner in owners.into_iter().filter(|owner| {
            owner.as_ref().is_none_or(|owner| owner.as_str() >= after.user_id.as_str())
        }) {
            rows.extend(
                telemetry::devices(pool, owner.as_deref(), query.online, &after, limit).await?,
            );
        }
        rows.truncate(usize::from(query.limit));
        Ok::<_, Problem>(rows)
    };
    let key = |last: &Device| (last.user_id.clone(), last.device_id.clone());
    context.list(Telemetry::NAME, query.limit, rows, key).await
}

/// When a device went offline, its user and its id.
type Gone = (DateTime<Utc>, String, String);

/// Responds with devices that have been offline since `since` or longer.
async fn offline(
    context: QueryContext,
    caller: &Caller,
    query: DevicesQuery,
    since: DateTime<Utc>,
) -> Result<Response, Problem> {
    let after: Option<Gone> = page::after(query.cursor.as_ref())?;
    let owners = caller.owners(&context.api).await?.of_list(query.user_id);
    let rows = async {
        let (pool, limit) = (context.pool(), query.limit.into());
        let mut rows = Vec::new();
        // No device is online and offline.
        for owner in owners.into_iter().filter(|_| query.online != Some(true)) {
            let owner = owner.as_deref();
            rows.extend(
                telemetry::offline_devices(pool, owner, since, after.as_ref(), limit).await?,
            );
        }
        let key = |row: &Device| (row.online_since, row.user_id.clone(), row.device_id.clone());
        rows.sort_by_key(|row| std::cmp::Reverse(key(row)));
        rows.truncate(usize::from(query.limit));
        Ok::<_, Problem>(rows)
    };
    let key = |last: &Device| {
        (last.online_since.unwrap_or(since), last.user_id.clone(), last.device_id.clone())
    };
    context.list(Telemetry::NAME, query.limit, rows, key).await
}

/// Show one device
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/devices/{device_id}", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), ("device_id" = String, Path), QueryHeaders),
    responses((status = 200, description = "The device", body = Device, headers(
        ("Tributary-Position" = i64, description = "Position that the read model has applied"))),
        (status = 404, description = "There is no such device, or it is not visible to this caller")),
)]
pub(super) async fn device(
    caller: Caller,
    context: QueryContext,
    Path((user_id, device_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let is_visible = caller.sees_devices_of(&context.api, &user_id).await?;
    let row = telemetry::device(context.pool(), &user_id, &device_id);
    let visible = row.map_ok(|row| row.filter(|_| is_visible));
    context.show(Telemetry::NAME, "device", visible, |_| None::<i64>).await
}
