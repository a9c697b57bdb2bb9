//! Who is asking. One layer in front of the whole API reads the bearer token, so that no route can
//! forget to; handlers take the [`Caller`] it found.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::{Actor, Role};
use uuid::Uuid;

use super::Api;
use super::problem::Problem;

/// The subject of a token that holds, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) subject: String,
    pub(super) role: Role,
    /// The session of the token, if it is of one.
    pub(super) session: Option<Uuid>,
}

impl Caller {
    /// Whoever calls what anybody may call.
    pub(super) fn anonymous() -> Self {
        Self { subject: "anonymous".into(), role: Role::User, session: None }
    }

    /// The user behind the token; some speak for programs that are nobody.
    pub(super) fn user(&self) -> Result<Actor, Problem> {
        let not_a_user = |_unreadable| {
            let detail = "this token speaks for a program, not for a user";
            Problem::new(StatusCode::FORBIDDEN, "not_a_user", detail)
        };
        Ok(Actor { id: Uuid::parse_str(&self.subject).map_err(not_a_user)?, role: self.role })
    }

    /// Whether this user's data is the caller's business; as in topics, any text names a user.
    pub(super) fn sees(&self, user_id: &str) -> bool {
        self.sees_all() || self.subject == user_id
    }

    /// Whether everybody's data is.
    pub(super) fn sees_all(&self) -> bool {
        self.role >= Role::Operator
    }
}

/// A caller who is at least an operator: for what concerns everybody's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operator(pub(super) Caller);

/// A caller who is an administrator: for what concerns who is what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admin(pub(super) Caller);

/// Lets nobody through without a token that holds.
pub(super) async fn authenticate(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let found = bearer(request.headers()).and_then(|token| {
        api.keys.check(token).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            let challenge = r#"Bearer realm="tributary", error="invalid_token""#;
            refused("the token is not one of ours, or does not hold now", challenge)
        })
    });
    match found {
        Ok(claims) => {
            let caller = Caller { subject: claims.sub, role: claims.role, session: claims.sid };
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || {
        let challenge = r#"Bearer realm="tributary""#;
        refused("a bearer token is needed; `tributary token` makes one", challenge)
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

fn refused(detail: &str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || refused("a bearer token is needed", r#"Bearer realm="tributary""#);
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
            let detail = "this is for operators and administrators";
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
            let detail = "this is for administrators";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}
