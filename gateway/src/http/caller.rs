//! Authentication. One layer in front of all guarded routes verifies the bearer token, so that no
//! route can omit it; handlers extract the [`Caller`] it found.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use domain::{Actor, Role};
use uuid::Uuid;

use super::api::Api;
use super::problem::Problem;
use super::ticket_use;
use crate::tokens::Claims;

/// The subject of a valid token and its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Id of the user, or name of a program.
    pub(super) subject: String,
    pub(super) role: Role,
    /// The session that the token belongs to; none for tokens made by `tributary token`.
    pub(super) session: Option<Uuid>,
    /// Time from which the token is expired, in seconds since the Unix epoch.
    pub(super) expires: i64,
}

impl Caller {
    /// The caller of a route without authentication.
    pub(super) fn anonymous() -> Self {
        Self { subject: "anonymous".into(), role: Role::User, session: None, expires: i64::MAX }
    }

    /// How long the token is still valid.
    pub(super) fn valid_for(&self) -> Duration {
        let end = self.expires.saturating_mul(1000);
        let left = end.saturating_sub(Utc::now().timestamp_millis());
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }

    /// The user behind the token; 403 `not_a_user` if its subject is a program.
    pub(super) fn user(&self) -> Result<Actor, Problem> {
        let not_a_user = |_unreadable| {
            let detail = "this token belongs to a program, not to a user; sign in as a user";
            Problem::new(StatusCode::FORBIDDEN, "not_a_user", detail)
        };
        Ok(Actor { id: Uuid::parse_str(&self.subject).map_err(not_a_user)?, role: self.role })
    }

    /// Whether the caller is this user or may see the data of all users.
    pub(super) fn sees(&self, user_id: &str) -> bool {
        self.sees_all() || self.subject == user_id
    }

    /// The users whose devices the caller may see: as in MQTT topics, a user id is any text. That of a
    /// registered user's devices is the user's own id or the user's device namespace, as the log has it
    /// now.
    pub(super) async fn owners(&self, api: &Api) -> Result<Owners, Problem> {
        if self.sees_all() {
            return Ok(Owners::All);
        }
        let namespace = match Uuid::parse_str(&self.subject) {
            Ok(id) => api.handlers.users.namespace_of(id).await?,
            Err(_a_program) => None,
        };
        let mut owners = vec![self.subject.clone()];
        owners.extend(namespace.map(String::from));
        owners.sort();
        Ok(Owners::These(owners))
    }

    /// Whether the caller may see the devices of this user.
    pub(super) async fn sees_devices_of(&self, api: &Api, user_id: &str) -> Result<bool, Problem> {
        Ok(self.sees(user_id) || self.owners(api).await?.include(user_id))
    }

    /// Whether the caller may see the data of all users.
    pub(super) fn sees_all(&self) -> bool {
        self.role >= Role::Operator
    }
}

/// The users whose devices a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owners {
    All,
    /// In alphabetical order.
    These(Vec<String>),
}

impl Owners {
    pub(super) fn include(&self, user_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(owners) => owners.iter().any(|owner| owner == user_id),
        }
    }

    /// The users of a list that the query filters by `user_id`: one page of each makes a page. `None`
    /// stands for all users; none at all, if the caller may not see that user.
    pub(super) fn of_list(self, user_id: Option<String>) -> Vec<Option<String>> {
        match (self, user_id) {
            (owners, Some(user_id)) if owners.include(&user_id) => vec![Some(user_id)],
            (_, Some(_)) => Vec::new(),
            (Self::All, None) => vec![None],
            (Self::These(owners), None) => owners.into_iter().map(Some).collect(),
        }
    }
}

/// A caller with at least the role `operator`; 403 for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operator(pub(super) Caller);

/// A caller with the role `admin`; 403 for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admin(pub(super) Caller);

/// Responds 401 to requests without a valid token, and 429 to callers that are over a limit.
pub(super) async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let found = match ticket_use::of(&request) {
        Some(ticket) => ticket_use::redeem(&api, &ticket).await,
        None => bearer(request.headers()).and_then(|token| {
            api.keys.check(token).map_err(|error| {
                tracing::debug!(%error, "token refused");
                let challenge = r#"Bearer realm="tributary", error="invalid_token""#;
                let detail = "the token is invalid or has expired; sign in again or refresh it";
                Problem::unauthenticated(detail, challenge)
            })
        }),
    };
    match found {
        Ok(claims) => {
            let subject = claims.sub.clone();
            let Claims { sub, role, sid: session, exp: expires, .. } = claims;
            let caller = Caller { subject: sub, role, session, expires };
            request.extensions_mut().insert(caller);
            api.admission.principal(&subject, request, next).await
        }
        Err(problem) => api.admission.unauthenticated(&request, problem).into_response(),
    }
}

/// The bearer token of a request; 401 if there is none, or several.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || {
        let challenge = r#"Bearer realm="tributary""#;
        let detail = "a bearer token is required; sign in or run `tributary token`";
        Problem::unauthenticated(detail, challenge)
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing());
    };
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    Ok(token)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || {
            let challenge = r#"Bearer realm="tributary""#;
            Problem::unauthenticated("a bearer token is required", challenge)
        };
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.sees_all() {
            Ok(Self(caller))
        } else {
            let detail = "this requires the role operator or admin";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.role == Role::Admin {
            Ok(Self(caller))
        } else {
            let detail = "this requires the role admin";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}
