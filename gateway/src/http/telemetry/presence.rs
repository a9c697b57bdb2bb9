//! Presence settings: how long a user's devices may send nothing before they count as offline.

use domain::telemetry::UserId;
use domain::telemetry::presence::{Command, InactiveAfter, stream};
use projections::telemetry::{Telemetry, presence_setting};
use serde::de::{self, Deserializer};
use utoipa::PartialSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::config::Span;

use super::super::extract::named;
use super::super::prelude::*;

/// The presence setting of a user's devices.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PresenceSetting)]
pub(super) struct Setting {
    // Required even if it is `null`: an empty object is an error, not a reset.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, value_type = Silence)]
    inactive_after: Option<Silence>,
}

/// The presence setting of a user's devices, as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresenceRow {
    /// The user.
    user_id: String,
    /// How long a device may send nothing before it counts as offline, such as `15m`; `null`: the
    /// default of the system.
    #[schema(example = "15m")]
    inactive_after: Option<String>,
}

/// A duration: text with a unit, or seconds.
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
                "How long a device may send nothing before it counts as offline, 1 second to 7 \
                 days: a whole number with a unit (`90s`, `15m`, `1d`), or a number of seconds. \
                 `null` restores the default.",
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

/// Set the presence setting of a user's devices
///
/// A device that sends nothing for longer counts as offline (`inactive`), and as online again with
/// its next reading (`heard`). Users set it for their own devices; operators for those of all users.
#[utoipa::path(
    put, path = "/api/v1/users/{user_id}/presence", tag = tags::TELEMETRY, request_body = Setting,
    params(("user_id" = String, Path), CommandHeaders),
    responses((status = 204, description = "The setting is stored; `ETag` is its version")),
)]
pub(super) async fn configure(
    context: CommandContext,
    Path(user_id): Path<UserId>,
    Json { value }: Json<Setting>,
) -> Result<Response, Problem> {
    if !context.caller.sees_devices_of(&context.api, user_id.as_str()).await? {
        return Err(Problem::not_found("user"));
    }
    let user_id = named(user_id)?;
    let response = StoredResponse::no_content(format!("/api/v1/users/{user_id}/presence"))?;
    let inactive_after = value.inactive_after.map(|Silence(span)| span);
    let stream = stream(&user_id);
    let command = Command::Configure { user_id, inactive_after };
    let execute = |envelope| context.api.handlers.presence.execute(&stream, command, envelope);
    context.execute(Telemetry::NAME, response, execute).await
}

/// Show the presence setting of a user's devices
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/presence", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), QueryHeaders),
    responses((status = 200, description = "The setting", body = PresenceRow)),
)]
pub(super) async fn get(
    caller: Caller,
    context: QueryContext,
    Path(user_id): Path<UserId>,
) -> Result<Response, Problem> {
    if !caller.sees_devices_of(&context.api, user_id.as_str()).await? {
        return Err(Problem::not_found("user"));
    }
    let position = context.wait(Telemetry::NAME).await?;
    let setting = presence_setting(context.pool(), user_id.as_str()).await?;
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
    fn the_setting_is_text_or_seconds_or_null() {
        assert_eq!(read(r#"{"inactive_after": "15m"}"#), Ok(Some(900_000)));
        assert_eq!(read(r#"{"inactive_after": "1500ms"}"#), Ok(Some(1_500)));
        assert_eq!(read(r#"{"inactive_after": 604800}"#), Ok(Some(604_800_000)));
        assert_eq!(read(r#"{"inactive_after": null}"#), Ok(None));
    }

    #[test]
    fn any_other_setting_is_refused() {
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
