//! Alerts: list, show and acknowledge them.

use domain::alerts::alert::Command;
use domain::alerts::{Severity, alert_stream};
use projections::ByName;
use projections::alerts::{self, Alerts, Filter, Row, SeverityName, StateName};

use super::super::clock::now;
use super::super::prelude::*;

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
    let before = page::after(query.cursor.as_ref())?;
    let owners = caller.owners(&context.api).await?.of_list(query.user_id);
    let rows = async {
        let limit = query.limit.into();
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
            rows.extend(alerts::list(context.pool(), &filter, before, limit).await?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.raised_position));
        rows.truncate(usize::from(query.limit));
        Ok::<_, Problem>(rows)
    };
    context.list(Alerts::NAME, query.limit, rows, |last| last.raised_position).await
}

/// The alert, if the caller may see it; else 404.
pub(super) async fn visible(api: &Api, caller: &Caller, id: Uuid) -> Result<Row, Problem> {
    let row = alerts::get(api.store.pool(), id).await?;
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
