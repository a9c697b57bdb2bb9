//! Alerts over HTTP: look at them, acknowledge them, ask why; the rules, and trying rules out.

mod config;
mod dry_run;

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, SubsecRound, Utc};
use commands::alerts::explained;
use domain::alerts::alert::{Command, Event};
use domain::alerts::{Step, alert_stream};
use eventsourcing::Version;
use eventstore::RawEvent;
use projections::alerts::{self, Filter, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::extract::{Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Answer, Asked, CommandHeaders};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};
use config::Rule;

/// The projection that answers here.
const PROJECTION: &str = "alerts";
/// How bad an alert can be.
const SEVERITIES: [&str; 5] = ["critical", "major", "minor", "warning", "info"];

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(acknowledge))
        .routes(routes!(explanation))
        .routes(routes!(dry_run::dry_run))
        .merge(config::routes())
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those of this user.
    user_id: Option<String>,
    /// Only those of this device.
    device_id: Option<String>,
    /// Only those that are `active`, or `cleared`.
    state: Option<String>,
    /// Only those that are critical, major, minor, warning or info.
    severity: Option<String>,
    /// Only those somebody acknowledged, or nobody did.
    acknowledged: Option<bool>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List alerts, the last raised first
///
/// One's own; operators see everybody's.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = tags::ALERTS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of alerts", body = Page<Row>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let (limit, before) = (query.limit, query.cursor.as_ref().map(Cursor::read).transpose()?);
    let filter = query.filter()?;
    let own = (!caller.sees_all()).then_some(caller.subject);
    let rows = match (filter.user_id.clone(), own) {
        (Some(user), Some(own)) if user != own => Vec::new(),
        (user, own) => {
            let filter = Filter { user_id: user.or(own), ..filter };
            alerts::list(api.store.pool(), &filter, before, limit.into()).await?
        }
    };
    page::full(&uri, rows, limit, position, |last| last.raised_position)
}

impl ListQuery {
    fn filter(self) -> Result<Filter, Problem> {
        for (name, value, known) in [
            ("state", &self.state, alerts::STATES.as_slice()),
            ("severity", &self.severity, &SEVERITIES),
        ] {
            if value.as_ref().is_some_and(|value| !known.contains(&value.as_str())) {
                return Err(Problem::parameter(name, format!("one of {}", known.join(", "))));
            }
        }
        Ok(Filter {
            user_id: self.user_id,
            device_id: self.device_id,
            state: self.state,
            severity: self.severity,
            acknowledged: self.acknowledged,
        })
    }
}

/// An alert that is the caller's business.
async fn visible(api: &Api, caller: &Caller, id: Uuid) -> Result<Row, Problem> {
    let row = alerts::get(api.store.pool(), id).await?;
    row.filter(|row| caller.sees(&row.user_id)).ok_or_else(|| Problem::not_found("alert"))
}

/// Show an alert
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = tags::ALERTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The alert", body = Row)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = visible(&api, &caller, id).await?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// Acknowledge an alert
///
/// Somebody has seen it. It stays active until its condition ends; the first to acknowledge it is
/// remembered.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/acknowledge", tag = tags::ALERTS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "Acknowledged")),
)]
async fn acknowledge(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    visible(&api, &asked.caller, id).await?;
    let answer = Answer::no_content(format!("/api/v1/alerts/{id}"))?;
    let envelope = asked.envelope(id.as_bytes(), &answer)?;
    let command = Command::Acknowledge { by: asked.caller.subject.clone(), at: now() };
    let done = api.handlers.alerts.execute(&alert_stream(id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// Now, as precisely as Postgres keeps it.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// Why an alert was raised.
#[derive(Debug, Serialize, ToSchema)]
struct Explanation {
    id: Uuid,
    /// The rule, as it was then.
    #[schema(value_type = Rule)]
    rule: domain::alerts::Rule,
    /// Version of the rules it stood in.
    rules_version: i64,
    /// Whether the rule is everybody's, rather than the user's own.
    of_everybody: bool,
    /// Time of the first reading in a row that breached.
    since: DateTime<Utc>,
    /// Readings in a row that breached until it was raised.
    breaches: u64,
    /// Those readings, the last of which raised it; of many, the first and the last eight.
    steps: Vec<ReadingStep>,
}

/// A reading, and what the rule made of it.
#[derive(Debug, Serialize, ToSchema)]
struct ReadingStep {
    /// Of the reading's event in the log.
    position: i64,
    time: DateTime<Utc>,
    value: Option<Value>,
    verdict: String,
}

impl From<Step> for ReadingStep {
    fn from(step: Step) -> Self {
        let Step { position, time, value, verdict } = step;
        Self { position: position.0, time, value, verdict }
    }
}

/// Explain an alert
///
/// The readings that raised it, the version of the rule, and what was made of each step by step.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/explanation", tag = tags::ALERTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "Why it was raised", body = Explanation)),
)]
async fn explanation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = visible(&api, &caller, id).await?;
    let first = api.store.read_stream(&alert_stream(id), Version::NONE, 1).await?;
    let raised = match first.first().map(RawEvent::event::<Event>).transpose() {
        Ok(Some(Event::AlertRaised(raised))) => raised,
        Ok(_) => return Err(Problem::not_found("alert")),
        Err(error) => return Err(Problem::internal(&error)),
    };
    let steps = explained(&api.store, &raised).await?;
    let explanation = Explanation {
        id,
        rules_version: raised.rules_version,
        of_everybody: raised.of_everybody,
        since: raised.since,
        breaches: raised.breaches,
        steps: steps.into_iter().map(ReadingStep::from).collect(),
        rule: raised.definition,
    };
    Ok(page::one(explanation, Some(row.version), position))
}
