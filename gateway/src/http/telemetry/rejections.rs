//! Refused messages: what was refused, when and why.

use chrono::{DateTime, Utc};
use projections::telemetry::{self, Rejection, RejectionFilter, Telemetry};

use super::super::prelude::*;

/// Which refused messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RejectionsQuery {
    /// Only messages received at this time or later (RFC 3339, with an offset).
    from: Option<DateTime<Utc>>,
    /// Only messages received before this time (RFC 3339, with an offset).
    to: Option<DateTime<Utc>>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// Whose refused messages, and which.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AllRejectionsQuery {
    /// Only messages of devices of this user.
    user_id: Option<String>,
    /// Only messages received at this time or later (RFC 3339, with an offset).
    from: Option<DateTime<Utc>>,
    /// Only messages received before this time (RFC 3339, with an offset).
    to: Option<DateTime<Utc>>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

fn key(last: &Rejection) -> (DateTime<Utc>, i64) {
    (last.rejected_at, last.position)
}

/// List refused messages, newest first
///
/// Messages over MQTT that could not be read, were invalid, or had the sequence number of another
/// reading. Users see only those of their own devices; operators see all, also those whose topic names
/// no device. A request over HTTP has the reason in its response, and is not listed.
#[utoipa::path(
    get, path = "/api/v1/rejections", tag = tags::TELEMETRY,
    params(AllRejectionsQuery, QueryHeaders),
    responses((status = 200, description = "A page of refused messages", body = Page<Rejection>, headers(
        ("Tributary-Position" = i64, description = "Position that the read model has applied"),
        ("Link" = String, description = "The next page, `rel=\"next\"`")))),
)]
pub(super) async fn all(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<AllRejectionsQuery>,
) -> Result<Response, Problem> {
    let AllRejectionsQuery { user_id, from, to, limit, cursor } = query;
    let after = page::after(cursor.as_ref())?;
    let owners = caller.owners(&context.api).await?.of_list(user_id);
    let rows = async {
        let mut rows = Vec::new();
        for user_id in owners {
            let filter = RejectionFilter { user_id, device_id: None, from, to };
            rows.extend(telemetry::rejections(context.pool(), &filter, after, limit.into()).await?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(key(row)));
        rows.truncate(usize::from(limit));
        Ok::<_, Problem>(rows)
    };
    context.list(Telemetry::NAME, limit, rows, key).await
}

/// List the refused messages of a device, newest first
///
/// Messages of the device over MQTT that could not be read, were invalid, or had the sequence number of
/// another reading. A request over HTTP has the reason in its response, and is not listed.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/devices/{device_id}/rejections", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), ("device_id" = String, Path), RejectionsQuery, QueryHeaders),
    responses((status = 200, description = "A page of refused messages", body = Page<Rejection>, headers(
        ("Tributary-Position" = i64, description = "Position that the read model has applied"),
        ("Link" = String, description = "The next page, `rel=\"next\"`"))),
        (status = 404, description = "There is no such device, or it is not visible to this caller")),
)]
pub(super) async fn of_device(
    caller: Caller,
    context: QueryContext,
    Path((user_id, device_id)): Path<(String, String)>,
    Query(query): Query<RejectionsQuery>,
) -> Result<Response, Problem> {
    if !caller.sees_devices_of(&context.api, &user_id).await? {
        return Err(Problem::not_found("device"));
    }
    let RejectionsQuery { from, to, limit, cursor } = query;
    let after = page::after(cursor.as_ref())?;
    let filter = RejectionFilter {
        user_id: Some(user_id.clone()),
        device_id: Some(device_id.clone()),
        from,
        to,
    };
    let rows = async {
        let pool = context.pool();
        let rows = telemetry::rejections(pool, &filter, after, limit.into()).await?;
        // A device of which every message was refused is listed nowhere else.
        if rows.is_empty() && telemetry::device(pool, &user_id, &device_id).await?.is_none() {
            return Err(Problem::not_found("device"));
        }
        Ok(rows)
    };
    context.list(Telemetry::NAME, limit, rows, key).await
}
