//! How long a user's devices may be silent before they are taken for gone.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::telemetry::UserId;
use domain::telemetry::presence::{Command, InactiveAfter, stream};
use projections::telemetry::setting;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::super::Api;
use super::super::caller::Caller;
use super::super::extract::{Json, Path};
use super::super::page;
use super::super::problem::Problem;
use super::super::receipt::{Answer, Asked, CommandHeaders};
use super::super::tags;
use super::super::wait::{self, QueryHeaders};
use super::PROJECTION;
use crate::config::Span;

/// What is chosen for the devices of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PresenceSetting)]
pub(super) struct Setting {
    // Said even if it is `null`: an empty object is a mistake, not a choice.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, value_type = Silence)]
    inactive_after: Option<Silence>,
}

/// A setting as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresenceRow {
    user_id: String,
    /// How long the devices may be silent, such as `15m`; `null`: the default of the system.
    #[schema(example = "15m")]
    inactive_after: Option<String>,
}

/// A length of silence: text with a unit, or seconds.
#[derive(Debug, Clone, Copy)]
struct Silence(InactiveAfter);

impl ToSchema for Silence {}

impl PartialSchema for Silence {
    fn schema() -> RefOr<Schema> {
        let text =
            ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+(ms|s|m|h|d)$"));
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(InactiveAfter::MIN.as_secs()))
            .maximum(Some(InactiveAfter::MAX.as_secs()));
        let null = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null));
        OneOfBuilder::new()
            .description(Some(
                "How long a device may be silent, 1 second to 7 days: a whole number with a unit \
                 (`90s`, `15m`, `1d`), or seconds. `null` goes back to the default.",
            ))
            .item(text)
            .item(seconds)
            .item(null)
            .examples([serde_json::json!("15m"), serde_json::json!(900)])
            .into()
    }
}

impl<'de> Deserialize<'de> for Silence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(span) = Span::deserialize(deserializer)?;
        InactiveAfter::try_from(span).map(Self).map_err(de::Error::custom)
    }
}

/// Choose how long a user's devices may be silent
///
/// A device that is online and silent for longer is taken for gone (`inactive`), and is there again
/// with its next reading (`heard`). One's own; operators choose for anybody.
#[utoipa::path(
    put, path = "/api/v1/users/{user_id}/presence", tag = tags::TELEMETRY, request_body = Setting,
    params(("user_id" = String, Path), CommandHeaders),
    responses((status = 204, description = "Chosen; `ETag` is its version now")),
)]
pub(super) async fn configure(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Path(user_id): Path<UserId>,
    Json { value, bytes }: Json<Setting>,
) -> Result<Response, Problem> {
    if !asked.caller.sees(user_id.as_str()) {
        return Err(Problem::not_found("user"));
    }
    let answer = Answer::no_content(format!("/api/v1/users/{user_id}/presence"))?;
    let inactive_after = value.inactive_after.map(|Silence(span)| span);
    let envelope = asked.envelope(&bytes, &answer)?;
    let stream = stream(&user_id);
    let command = Command::Configure { user_id, inactive_after };
    let done = api.handlers.presence.execute(&stream, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// Show how long a user's devices may be silent
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/presence", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), QueryHeaders),
    responses((status = 200, description = "What was chosen last", body = PresenceRow)),
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path(user_id): Path<UserId>,
) -> Result<Response, Problem> {
    if !caller.sees(user_id.as_str()) {
        return Err(Problem::not_found("user"));
    }
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let setting = setting(api.store.pool(), user_id.as_str()).await?;
    let version = setting.map(|(_, version)| version.0);
    let inactive_after = setting.and_then(|(span, _)| span).map(|span| Span(span).to_string());
    Ok(page::one(PresenceRow { user_id: user_id.into(), inactive_after }, version, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Option<i64>, String> {
        let setting: Result<Setting, _> = serde_json::from_str(body);
        let setting = setting.map_err(|error| error.to_string())?;
        Ok(setting.inactive_after.map(|Silence(span)| span.milliseconds()))
    }

    #[test]
    fn silence_is_text_or_seconds_or_the_default() {
        assert_eq!(read(r#"{"inactive_after": "15m"}"#), Ok(Some(900_000)));
        assert_eq!(read(r#"{"inactive_after": "1500ms"}"#), Ok(Some(1_500)));
        assert_eq!(read(r#"{"inactive_after": 604800}"#), Ok(Some(604_800_000)));
        assert_eq!(read(r#"{"inactive_after": null}"#), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [
            "{}",
            r#"{"inactive_after": 0}"#,
            r#"{"inactive_after": -1}"#,
            r#"{"inactive_after": 1.5}"#,
            r#"{"inactive_after": 604801}"#,
            r#"{"inactive_after": "999ms"}"#,
            r#"{"inactive_after": "8d"}"#,
            r#"{"inactive_after": "15"}"#,
            r#"{"inactive_after": "00000000000000015m"}"#,
            r#"{"inactive_after": true}"#,
            r#"{"inactive_after": "15m", "more": 1}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
