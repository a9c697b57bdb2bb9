//! Alerts: list, show and acknowledge them.

use chrono::{DateTime, Utc};
use domain::alerts::alert::Command;
use domain::alerts::{Severity, alert_stream};
use projections::ByName;
use projections::alerts::{self, Alerts, Filter, Range, Row, SeverityName, StateName};

use super::super::clock::now;
use super::super::prelude::*;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only alerts of this user.
    user_id: Option<String>,
    /// Only alerts of this device.
    device_id: Option<String>,
    /// Only alerts in this state.
    #[param(inline)]
    state: Option<StateName>,
    /// Only alerts of this severity.
    #[param(inline, value_type = Option<SeverityName>)]
    severity: Option<Severity>,
    /// Only alerts that are acknowledged, or only alerts that are not.
    acknowledged: Option<bool>,
    /// Only alerts whose raising was recorded at this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Only alerts whose raising was recorded before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// `desc` (default): the last raised first; `asc`: the first raised first.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List alerts, last raised first
///
/// Users see only the alerts of their own devices; operators see all.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = tags::ALERTS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of alerts", body = Page<Row>)),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let range = range(&context, &query).await?;
    let owners = caller.owners(&context.api).await?.of_list(query.user_id);
    let rows = async {
        let mut filter = Filter {
            user_id: None,
            device_id: query.device_id,
            state: query.state.map(|ByName(state)| state),
            severity: query.severity,
            acknowledged: query.acknowledged,
        };
        let mut rows = Vec::new();
        for owner in owners {
            filter.user_id = owner;
            rows.extend(alerts::list(context.pool(), &filter, range).await?);
        }
        rows.sort_by_key(|row| row.raised_position);
        if range.descending {
            rows.reverse();
        }
        rows.truncate(usize::from(query.limit));
        Ok::<_, Problem>(rows)
    };
    context.list(Alerts::NAME, query.limit, rows, |last| last.raised_position).await
}

/// The range of positions that is the page. Times of the log never decrease with positions, so that a
/// range of times is one of positions.
async fn range(context: &QueryContext, query: &ListQuery) -> Result<Range, Problem> {
    let cursor: Option<i64> = page::after(query.cursor.as_ref())?;
    let store = &context.api.store;
    let (mut after, mut before) = (0, i64::MAX);
    if let Some(from) = query.from {
        after = store.last_before(from).await?.0;
    }
    if let Some(to) = query.to {
        before = store.last_before(to).await?.0 + 1;
    }
    let descending = query.order == Order::Desc;
    match cursor {
        Some(cursor) if descending => before = before.min(cursor),
        Some(cursor) => after = after.max(cursor),
        None => {}
    }
    Ok(Range { after, before, descending, limit: query.limit.into() })
}

/// The alert, if the caller may see it; else 404.
pub(super) async fn visible(api: &Api, caller: &Caller, id: Uuid) -> Result<Row, Problem> {
    let row = alerts::get(api.queries(), id).await?;
    let row = row.ok_or_else(|| Problem::not_found("alert"))?;
    if caller.sees_devices_of(api, &row.user_id).await? {
        Ok(row)
    } else {
        Err(Problem::not_found("alert"))
    }
}

/// Show one alert
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = tags::ALERTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The alert", body = Row)),
)]
pub(super) async fn get(
    caller: Caller,
    context: QueryContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let row = async { visible(&context.api, &caller, id).await.map(Some) };
    context.show(Alerts::NAME, "alert", row, |row| Some(row.version)).await
}

/// Acknowledge an alert
///
/// The alert stays active until its condition ends. Only the first acknowledgement is recorded.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/acknowledge", tag = tags::ALERTS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The alert is acknowledged")),
)]
pub(super) async fn acknowledge(
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    visible(&context.api, &context.caller, id).await?;
    let response = StoredResponse::no_content(format!("/api/v1/alerts/{id}"))?;
    let command = Command::Acknowledge { by: context.caller.subject.clone(), at: now() };
    let stream = alert_stream(id);
    let execute = |envelope| context.api.handlers.alerts.execute(&stream, command, envelope);
    context.execute(Alerts::NAME, response, execute).await
}
