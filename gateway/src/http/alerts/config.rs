//! Alert rules: those of one user, and those that apply to all users.

use domain::alerts::{Command, Config, Fault as RuleFault, Scope, rules_stream};
use domain::telemetry::UserId;
use futures::TryFutureExt;
use projections::alerts::{Alerts, rule_config};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::extract::{RawJson, malformed, named};
use super::super::prelude::*;

/// A rule over readings. `key` and `operator` are required, and for most operators `threshold`.
#[derive(Debug, ToSchema)]
#[schema(as = AlertRule)]
#[expect(dead_code, reason = "read by `domain::alerts`; this is for the document")]
pub(super) struct Rule {
    /// The field of the reading: a name, a dotted path or a JSON pointer.
    #[schema(min_length = 1, max_length = 200, example = "battery")]
    key: String,
    /// How the value is compared with the threshold.
    operator: Comparison,
    /// A number; `[low, high]` for `between` and `outside`; a text or a boolean, too, for `==` and
    /// `!=`; none for `is_missing`.
    #[schema(value_type = Option<Value>, example = 20.0)]
    threshold: Option<Value>,
    /// Text of the alert, at most 500 characters.
    #[schema(max_length = 500)]
    message: Option<String>,
    /// Severity of the alert (default `warning`).
    severity: Option<projections::alerts::SeverityName>,
    /// How long the condition must hold, by the time of the readings: `30s`, `5m`, or a number of
    /// seconds; at most 7 days.
    #[schema(rename = "for", value_type = Option<Value>, example = "5m")]
    held_for: Option<Value>,
    /// Number of readings in a row that must breach the rule before the alert is raised.
    #[schema(minimum = 1, maximum = 1000)]
    times: Option<i32>,
    /// The alert is cleared only beyond this value; for `>`, `>=`, `<` and `<=`.
    clear_threshold: Option<f64>,
    /// Number of readings in a row that must not breach the rule before the alert is cleared.
    #[schema(minimum = 1, maximum = 1000)]
    clear_times: Option<i32>,
    /// The device, or a pattern with `*` (default all devices).
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@*-]+$")]
    device_id: Option<String>,
    /// Whether the rule is in effect (default `true`).
    enabled: Option<bool>,
}

/// How a value is compared with a threshold.
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

/// Alert rules, as they are sent.
#[derive(Debug, ToSchema)]
#[schema(as = AlertConfig)]
#[expect(dead_code, reason = "read by `domain::alerts`; this is for the document")]
pub(in super::super) struct SentConfig {
    /// Short form of the rule `temperature > …`.
    temperature_max: Option<f64>,
    /// The rules, at most 100.
    #[schema(max_items = 100)]
    rules: Option<Vec<Rule>>,
}

/// Alert rules, as they are in effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertRules)]
struct Shown {
    /// Short form of the rule `temperature > …`.
    temperature_max: Option<f64>,
    /// The rules.
    #[schema(value_type = Vec<Rule>)]
    rules: Vec<domain::alerts::Rule>,
    /// Version of the rules, counted from 1; 0 if none were ever set.
    version: i64,
}

/// Parses rules; the problem lists the faults of each.
fn parse(bytes: &[u8]) -> Result<Config, Problem> {
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
    Config::parse(bytes).map_err(invalid)
}

/// 422 `invalid_rules`.
pub(super) fn invalid(faults: Vec<RuleFault>) -> Problem {
    let faults = faults.into_iter().map(|fault| Fault::at(fault.pointer, fault.reason));
    Problem::invalid("invalid_rules", "the rules are invalid; `errors` lists the faults")
        .faults(faults)
}

async fn own(api: &Api, caller: &Caller, user_id: &UserId) -> Result<Scope, Problem> {
    if caller.sees_devices_of(api, user_id.as_str()).await? {
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
pub(super) async fn show(
    caller: Caller,
    context: QueryContext,
    Path(user_id): Path<UserId>,
) -> Result<Response, Problem> {
    respond(&context, &own(&context.api, &caller, &user_id).await?).await
}

/// Set a user's rules
///
/// Replaces all rules of the user. They apply to readings that are recorded from now on; alerts of
/// removed rules are cleared. The MQTT topic `users/{user_id}/config` does the same.
#[utoipa::path(
    put, path = "/api/v1/users/{user_id}/config", tag = tags::ALERTS,
    params(("user_id" = String, Path, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$"), CommandHeaders),
    request_body = SentConfig,
    responses((status = 204, description = "The rules are set; `ETag` is their new version"),
        (status = 422, description = "The rules are invalid (`invalid_rules`, with a pointer for each fault)")),
)]
pub(super) async fn configure(
    context: CommandContext,
    Path(user_id): Path<UserId>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let scope = own(&context.api, &context.caller, &named(user_id.clone())?).await?;
    set(&context, scope, &bytes, format!("/api/v1/users/{user_id}/config")).await
}

/// Show the rules of all users
///
/// They apply to the devices of users without more specific rules.
#[utoipa::path(
    get, path = "/api/v1/config", tag = tags::ALERTS, params(QueryHeaders),
    responses((status = 200, description = "The rules; `ETag` is their version", body = Shown)),
)]
pub(super) async fn show_all(_caller: Caller, context: QueryContext) -> Result<Response, Problem> {
    respond(&context, &Scope::Everybody).await
}

/// Set the rules of all users
///
/// For operators. Replaces all of these rules.
#[utoipa::path(
    put, path = "/api/v1/config", tag = tags::ALERTS, params(CommandHeaders),
    request_body = SentConfig,
    responses((status = 204, description = "The rules are set; `ETag` is their new version"),
        (status = 422, description = "The rules are invalid (`invalid_rules`, with a pointer for each fault)")),
)]
pub(super) async fn configure_all(
    _operator: Operator,
    context: CommandContext,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    set(&context, Scope::Everybody, &bytes, "/api/v1/config".to_owned()).await
}

async fn respond(context: &QueryContext, scope: &Scope) -> Result<Response, Problem> {
    let rules = rule_config(context.pool(), scope).map_ok(|configured| {
        let (version, Config { temperature_max, rules }) = configured.unwrap_or_default();
        Some(Shown { temperature_max, rules, version })
    });
    context.show(Alerts::NAME, "rules", rules, |rules| Some(rules.version)).await
}

async fn set(
    context: &CommandContext,
    scope: Scope,
    bytes: &[u8],
    location: String,
) -> Result<Response, Problem> {
    let config = parse(bytes)?;
    let stream = rules_stream(&scope);
    let command = Command::Configure { scope, config };
    let execute = |envelope| context.api.handlers.rules.execute(&stream, command, envelope);
    let response = StoredResponse::no_content(location)?;
    context.execute(Alerts::NAME, response, execute).await
}
