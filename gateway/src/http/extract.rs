//! Extractors of requests. They replace those of axum because each of their problems names the place
//! of the fault: a JSON pointer in the body, or a parameter.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use domain::telemetry::UserId;
use eventsourcing::json::{self, ReadError, without_mark};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use super::problem::Problem;

/// A JSON body.
#[derive(Debug)]
pub(super) struct Json<T> {
    pub(super) value: T,
}

/// The bytes of a body whose content type is JSON, without a byte-order mark, not parsed.
#[derive(Debug)]
pub(super) struct RawJson(pub(super) Bytes);

/// A form as the body (`application/x-www-form-urlencoded`).
#[derive(Debug)]
pub(super) struct Form<T>(pub(super) T);

/// Query parameters.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// Path parameters. One that cannot be parsed identifies no resource: 404.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync> FromRequest<S> for RawJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported("the content type must be application/json"));
        }
        let bytes = body(request, state).await?;
        Ok(Self(bytes.slice_ref(without_mark(&bytes))))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        const FORM: &str = "application/x-www-form-urlencoded";
        if essence(request.headers()).as_deref() != Some(FORM) {
            return Err(unsupported("the content type must be application/x-www-form-urlencoded"));
        }
        from_form(&body(request, state).await?).map(Self)
    }
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// Reads the whole body, up to the limit of the server.
pub(super) async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this server accepts; send less at once",
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "bad_request", rejection.body_text()),
    })
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawJson(bytes) = RawJson::from_request(request, state).await?;
        from_json(&bytes).map(|value| Self { value })
    }
}

/// The media type without its parameters, in lower case.
pub(super) fn essence(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// Parses a member that may be left out, but must not be `null`.
pub(super) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Parses a text into a value that is stored as text, by the rules for new values: what is stored may
/// follow older rules, which deserializing accepts.
pub(super) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

/// The id of a user for whom something is set: 422 if it is not a name that a URL can reach.
pub(super) fn named(user_id: UserId) -> Result<UserId, Problem> {
    let named = UserId::parse(user_id.as_str());
    named.map_err(|error| Problem::parameter("user_id", error.to_string()))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    read(bytes)?.map_err(|(pointer, detail)| Problem::member_at(&pointer, detail))
}

/// Parses JSON into `T`. The inner error is the JSON pointer of the first fault, and its
/// description; the outer one a body that is not JSON.
pub(super) fn read<T: DeserializeOwned>(
    bytes: &[u8],
) -> Result<Result<T, (String, String)>, Problem> {
    match json::read(bytes) {
        Ok(value) => Ok(Ok(value)),
        Err(ReadError::Fault(fault)) => Ok(Err((fault.pointer, fault.reason.to_string()))),
        Err(ReadError::Syntax(error)) => Err(malformed(&error)),
    }
}

/// 400: the body is not JSON.
pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: {error}");
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        from_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

pub(super) fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let reader = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let name = error.path().to_string();
        Problem::parameter(&name, error.inner().to_string())
    })
}

fn from_form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let name = error.path().to_string();
        let pointer = if name == "." { String::new() } else { format!("/{name}") };
        Problem::member_at(&pointer, error.inner().to_string())
    })
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|_unreadable| Problem::not_found("resource"))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    use super::super::problem::Shape;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Outer {
        list: Option<Vec<Inner>>,
        number: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        name: String,
    }

    async fn refused(problem: Problem) -> (u16, serde_json::Value) {
        let problem = problem.into_response();
        let response = super::super::problem::render(problem, "t", Shape::Problem);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_fault_in_json_has_a_pointer() {
        for (body, status, pointer) in [
            (r#"{"list": [{"name": "a"}, {"name": 7}]}"#, 422, "/list/1/name"),
            (r#"{"list": [{"name": "a", "na/me": 7}]}"#, 422, "/list/0/na~1me"),
            (r#"{"number": -1}"#, 422, "/number"),
            (r#"{"number": 42.5}"#, 422, "/number"),
            (r#"{"list": [{"name": "a", "name": "a"}]}"#, 422, "/list/0/name"),
            (r#"{"list": [{"name": "\ud800"}]}"#, 422, "/list/0/name"),
            (r#"{"numbers": 1}"#, 422, "/numbers"),
            ("[]", 422, ""),
        ] {
            let (answered, problem) =
                refused(from_json::<Outer>(body.as_bytes()).unwrap_err()).await;
            assert_eq!(answered, status, "{body}");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        }
        for body in ["", "{", "{} {}", "nonsense"] {
            let (answered, _) = refused(from_json::<Outer>(body.as_bytes()).unwrap_err()).await;
            assert_eq!(answered, 400, "{body}");
        }
    }

    #[tokio::test]
    async fn a_fault_in_a_form_has_a_pointer() {
        assert!(from_form::<Outer>(b"number=7").is_ok());
        for (body, pointer) in
            [("number=x", "/number"), ("other=1", "/other"), ("number=1&number=2", "")]
        {
            let (status, problem) = refused(from_form::<Outer>(body.as_bytes()).unwrap_err()).await;
            assert_eq!(status, 422);
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }

    #[tokio::test]
    async fn a_fault_in_a_query_names_the_parameter() {
        for (query, name) in [("number=x", "number"), ("other=1", "other")] {
            let (status, problem) = refused(from_query::<Outer>(query).unwrap_err()).await;
            assert_eq!(status, 422);
            assert_eq!(problem["errors"][0]["parameter"], name, "{problem}");
        }
    }
}
