//! Device namespaces: an administrator makes the devices of a name those of a user.

use domain::users::{InvalidNamespace, Namespace};
use projections::users::Users;

use super::super::prelude::*;

/// The new device namespace of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NamespaceChange)]
pub(super) struct NamespaceChange {
    /// Name of the namespace: the user id of the devices, as in `users/{user_id}/devices/…`, 1 to 64
    /// letters, digits or `. _ : @ -` and no UUID; `null` takes it away.
    // Required even if it is `null`: an empty object is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$", example = "ada")]
    namespace: Option<Box<str>>,
}

/// Give a user a device namespace
///
/// The devices, readings, alerts, rules and presence setting of that name are then the user's, as those
/// of the user's own id are: the user `ada` of the MQTT broker and the registered user see the same
/// devices. A user has one namespace, and a namespace one user. Only administrators give one, because
/// its holder sees what its devices have sent and will send. In effect at once.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/namespace", tag = tags::USERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = NamespaceChange,
    responses((status = 204, description = "The user has the namespace"),
        (status = 403, description = "The caller is not an administrator (any more)"),
        (status = 409, description = "Another user has the namespace (`namespace_taken`)"),
        (status = 422, description = "The name is invalid")),
)]
pub(super) async fn change(
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value }: Json<NamespaceChange>,
) -> Result<Response, Problem> {
    let invalid = |error: InvalidNamespace| Problem::member_at("/namespace", error.to_string());
    let namespace = value.namespace.map(Namespace::try_from).transpose().map_err(invalid)?;
    let response = StoredResponse::no_content(format!("/api/v1/users/{id}"))?;
    let by = context.caller.user()?;
    let users = &context.api.handlers.users;
    let execute = |envelope| users.change_namespace(id, namespace, by, envelope);
    context.execute(Users::NAME, response, execute).await
}
