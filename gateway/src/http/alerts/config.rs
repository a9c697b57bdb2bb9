//! Rules over HTTP: one's own, and everybody's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::alerts::{Command, Config, Fault as RuleFault, Scope, rules_stream};
use domain::telemetry::UserId;
use projections::alerts::configured;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::caller::{Caller, Operator};
use super::super::extract::{Path, RawJson, malformed};
use super::super::page;
use super::super::problem::{Fault, Problem};
use super::super::receipt::{Answer, Asked, CommandHeaders};
use super::super::wait::{self, QueryHeaders};
use super::super::{Api, tags};
use super::PROJECTION;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show, configure)).routes(routes!(show_all, configure_all))
}

/// A rule over readings. `key`, `operator`, `threshold` and `message` are enough.
#[derive(Debug, ToSchema)]
#[schema(as = AlertRule)]
#[expect(dead_code, reason = "read by `domain::alerts`; this is for the document")]
pub(super) struct Rule {
    /// The field: a name, a dotted path or a JSON pointer.
    #[schema(min_length = 1, max_length = 200, example = "battery")]
    key: String,
    operator: Comparison,
    /// A number; `[low, high]` for `between` and `outside`; also a text or a boolean for `==` and
    /// `!=`; nothing for `is_missing`.
    #[schema(value_type = Option<Value>, example = 20.0)]
    threshold: Option<Value>,
    #[schema(max_length = 500)]
    message: Option<String>,
    severity: Option<Severity>,
    /// How long the condition must hold, by the time of the readings: `30s`, `5m`, or seconds; at
    /// most 7 days.
    #[schema(rename = "for", value_type = Option<Value>, example = "5m")]
    held_for: Option<Value>,
    /// Readings in a row that must breach.
    #[schema(minimum = 1, maximum = 1000)]
    times: Option<i32>,
    /// The alert clears on this side of here; for `>`, `>=`, `<` and `<=`.
    clear_threshold: Option<f64>,
    /// Readings in a row that must be calm.
    #[schema(minimum = 1, maximum = 1000)]
    clear_times: Option<i32>,
    /// A device, or a pattern with `*`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@*-]+$")]
    device_id: Option<String>,
    enabled: Option<bool>,
}

#[derive(Debug, ToSchema)]
#[schema(as = AlertOperator)]
#[expect(dead_code, reason = "for the document")]
enum Comparison {
    #[schema(rename = ">")]
    Above,
    #[schema(rename = "<")]
    Below,
    #[schema(rename = ">=")]
    AtLeast,
    #[schema(rename = "<=")]
    AtMost,
    #[schema(rename = "==")]
    Equal,
    #[schema(rename = "!=")]
    NotEqual,
    #[schema(rename = "between")]
    Between,
    #[schema(rename = "outside")]
    Outside,
    #[schema(rename = "is_missing")]
    IsMissing,
}

#[derive(Debug, ToSchema)]
#[schema(as = AlertSeverity, rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document")]
enum Severity {
    Critical,
    Major,
    Minor,
    Warning,
    Info,
}

/// Rules as they are sent.
#[derive(Debug, ToSchema)]
#[schema(as = AlertConfig)]
#[expect(dead_code, reason = "read by `domain::alerts`; this is for the document")]
pub(super) struct SentConfig {
    /// Short for a rule `temperature > …`.
    temperature_max: Option<f64>,
    #[schema(max_items = 100)]
    rules: Option<Vec<Rule>>,
}

/// Rules as they are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertRules)]
struct Shown {
    temperature_max: Option<f64>,
    #[schema(value_type = Vec<Rule>)]
    rules: Vec<domain::alerts::Rule>,
    /// Counted from 1; 0 as long as nobody made any.
    version: i64,
}

/// Reads rules, or says what is wrong with each.
pub(super) fn read(bytes: &[u8]) -> Result<Config, Problem> {
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
    Config::parse(bytes).map_err(refuse)
}

pub(super) fn refuse(faults: Vec<RuleFault>) -> Problem {
    let faults = faults.into_iter().map(|fault| Fault::at(fault.pointer, fault.reason));
    Problem::invalid("invalid_rules", "the rules are not what is asked for").faults(faults)
}

fn own(caller: &Caller, user_id: &UserId) -> Result<Scope, Problem> {
    if caller.sees(user_id.as_str()) {
        Ok(Scope::User(user_id.as_str().into()))
    } else {
        Err(Problem::not_found("user"))
    }
}

/// Show a user's rules
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/config", tag = tags::ALERTS,
    params(("user_id" = String, Path, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$"), QueryHeaders),
    responses((status = 200, description = "The rules; `ETag` is their version", body = Shown)),
)]
async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path(user_id): Path<UserId>,
) -> Result<Response, Problem> {
    let scope = own(&caller, &user_id)?;
    shown(&api, &headers, &scope).await
}

/// Set a user's rules
///
/// All of them, in place of those before. They are in force for what is recorded from now on;
/// alerts of rules that are gone are cleared. The same goes over MQTT, on `users/{user_id}/config`.
#[utoipa::path(
    put, path = "/api/v1/users/{user_id}/config", tag = tags::ALERTS,
    params(("user_id" = String, Path, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$"), CommandHeaders),
    request_body = SentConfig,
    responses((status = 204, description = "Set: `ETag` is their version now"),
        (status = 422, description = "Not rules: `invalid_rules`, with a pointer for each fault")),
)]
async fn configure(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Path(user_id): Path<UserId>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let scope = own(&asked.caller, &user_id)?;
    set(&api, &asked, scope, &bytes, format!("/api/v1/users/{user_id}/config")).await
}

/// Show everybody's rules
///
/// They are in force for the devices of those who have none more specific.
#[utoipa::path(
    get, path = "/api/v1/config", tag = tags::ALERTS, params(QueryHeaders),
    responses((status = 200, description = "The rules; `ETag` is their version", body = Shown)),
)]
async fn show_all(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    shown(&api, &headers, &Scope::Everybody).await
}

/// Set everybody's rules
#[utoipa::path(
    put, path = "/api/v1/config", tag = tags::ALERTS, params(CommandHeaders),
    request_body = SentConfig,
    responses((status = 204, description = "Set: `ETag` is their version now"),
        (status = 422, description = "Not rules: `invalid_rules`, with a pointer for each fault")),
)]
async fn configure_all(
    State(api): State<Arc<Api>>,
    _operator: Operator,
    asked: Asked,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    set(&api, &asked, Scope::Everybody, &bytes, "/api/v1/config".to_owned()).await
}

async fn shown(api: &Api, headers: &HeaderMap, scope: &Scope) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, headers).await?;
    let (version, config) = configured(api.store.pool(), scope).await?.unwrap_or_default();
    let Config { temperature_max, rules } = config;
    Ok(page::one(Shown { temperature_max, rules, version }, Some(version), position))
}

async fn set(
    api: &Api,
    asked: &Asked,
    scope: Scope,
    bytes: &[u8],
    location: String,
) -> Result<Response, Problem> {
    let config = read(bytes)?;
    let answer = Answer::no_content(location)?;
    let stream = rules_stream(&scope);
    let request = [stream.as_str().as_bytes(), b"\n", bytes].concat();
    let envelope = asked.envelope(&request, &answer)?;
    let command = Command::Configure { scope, config };
    let done = api.handlers.rules.execute(&stream, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
