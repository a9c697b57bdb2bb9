//! Maps the errors that many routes share to problems.

use axum::http::{HeaderValue, StatusCode, header};
use commands::LoadError;
use eventsourcing::event::CodecError;
use eventsourcing::{Kind, Reject};
use eventstore::{AppendError, Unavailable};

use super::{Fault, Problem};

impl<R: Reject> From<commands::Error<R>> for Problem {
    fn from(error: commands::Error<R>) -> Self {
        match error {
            commands::Error::Rejected(rejection) => {
                let status = match rejection.kind() {
                    Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
                    Kind::NotFound => StatusCode::NOT_FOUND,
                    Kind::Forbidden => StatusCode::FORBIDDEN,
                    Kind::Conflict => StatusCode::CONFLICT,
                };
                let problem = Self::new(status, rejection.code(), rejection.to_string());
                match rejection.pointer() {
                    None => problem,
                    Some(pointer) => problem.fault(Fault::at(pointer, rejection.to_string())),
                }
            }
            commands::Error::KeyReused => AppendError::KeyReused.into(),
            commands::Error::Contention(_) => Self::unavailable(
                "contention",
                "other requests keep changing the same stream; retry later",
            ),
            commands::Error::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "another request changed what the decision is based on; retry",
            ),
            commands::Error::OtherVersion { actual } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                format!(
                    "version {actual} of the resource has none of the tags in If-Match; read it again"
                ),
            ),
            commands::Error::BadData(reason) => AppendError::BadData(reason).into(),
            commands::Error::Unavailable(error) => error.into(),
            commands::Error::ShuttingDown => AppendError::ShuttingDown.into(),
            commands::Error::Codec(error) => AppendError::Codec(error).into(),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => error.into(),
            LoadError::Codec(error) => Self::internal(&error),
        }
    }
}

impl From<commands::users::Error> for Problem {
    fn from(error: commands::users::Error) -> Self {
        use commands::users::Error;
        let unauthenticated = |code, error: &Error| {
            let challenge = HeaderValue::from_static(r#"Bearer realm="tributary""#);
            Self::new(StatusCode::UNAUTHORIZED, code, error.to_string())
                .header(header::WWW_AUTHENTICATE, challenge)
        };
        match error {
            Error::WrongCredentials => unauthenticated("invalid_credentials", &error),
            Error::NoSession => unauthenticated("session_ended", &error),
            Error::WrongPassword => Self::invalid("wrong_password", error.to_string())
                .fault(Fault::at("/current_password", error.to_string())),
            Error::Busy => Self::unavailable("busy", error.to_string()),
            Error::User(error) => error.into(),
            Error::Email(error) => error.into(),
            Error::Namespace(error) => error.into(),
            Error::Session(error) => error.into(),
            Error::Load(error) => error.into(),
            Error::Codec(_) | Error::Hash(_) | Error::HashTask(_) => Self::internal(&error),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "another request changed the stream in the meantime; read it again and retry",
            ),
            AppendError::KeyReused => Self::invalid(
                "idempotency_key_reused",
                "this Idempotency-Key was used for a different request; use a new key",
            ),
            AppendError::BadData(reason) => Self::invalid("bad_data", reason),
            AppendError::Unavailable(error) => error.into(),
            AppendError::ShuttingDown => {
                Self::unavailable("shutting_down", "this process is shutting down; retry later")
            }
            // A door let through what the readers of the event could not decode.
            AppendError::Codec(error @ CodecError::Undecodable(_)) => {
                tracing::error!(%error, "event refused");
                Self::invalid("bad_data", error.to_string())
            }
            AppendError::Codec(error) => Self::internal(&error),
        }
    }
}

/// A failed query: 503 if Postgres is unavailable, 500 if the statement is wrong.
impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        let code = error.cause().as_database_error().and_then(sqlx::error::DatabaseError::code);
        // RFC 3339 allows years that Postgres does not: before -4712.
        if code.as_deref() == Some("22008") {
            return Self::invalid("time_out_of_range", "a time is before the year -4712");
        }
        if code.as_deref() == Some("22021") {
            return Self::new(
                StatusCode::BAD_REQUEST,
                "nul_character",
                "the request contains a NUL character, which no name and no text may hold",
            );
        }
        if eventstore::reconnects_after(error.cause()) {
            let detail = "the read model was replaced by another one; retry now";
            return Self::unavailable("read_model_replaced", detail);
        }
        // Undefined column, undefined table.
        let undefined = code.as_deref().is_some_and(|code| ["42703", "42P01"].contains(&code));
        if undefined || matches!(error.cause(), sqlx::Error::ColumnNotFound(_)) {
            tracing::error!(error = %eventstore::ErrorChain(&error), "a read model is of another build");
            let detail = "the read model is of another build; retry after the upgrade";
            return Self::unavailable("read_model_of_another_build", detail);
        }
        let about_the_server = match error.cause() {
            sqlx::Error::Database(_) => code.is_some_and(|code| concerns_the_server(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if !about_the_server {
            return Self::internal(error.cause());
        }
        // The monitor logs the outage once, with the number of requests that it failed.
        tracing::debug!(error = %eventstore::ErrorChain(&error), "Postgres unavailable");
        eventstore::count_refused(&error);
        if error.is_disk_full() {
            let detail = "the disk of the database is full, so nothing can be written; retry later";
            return Self::unavailable("disk_full", detail);
        }
        Self::unavailable("database_unavailable", "the database is unavailable; retry later")
    }
}

/// Whether a SQLSTATE concerns the server and not the statement: connection, transaction, rollback,
/// resources, a lock that is held for too long, operator intervention.
fn concerns_the_server(code: &str) -> bool {
    code == "55P03" || ["08", "25", "40", "53", "57"].contains(&&code[..2.min(code.len())])
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Unavailable::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::{IntoResponse, Response};
    use domain::works::Rejection;
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::super::{Shape, render};
    use super::*;

    async fn written(problem: impl Into<Problem>) -> (StatusCode, Response, Value) {
        let response = render(problem.into().into_response(), "abc", Shape::Problem);
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes).unwrap();
        (parts.status, Response::from_parts(parts, Body::empty()), value)
    }

    #[tokio::test]
    async fn a_rejection_maps_to_the_status_of_its_kind() {
        for (rejection, status) in [(Rejection::NotDemanded, 404), (Rejection::Leased, 409)] {
            let error = commands::Error::Rejected(rejection);
            let (answered, response, body) = written(error).await;
            assert_eq!(answered, status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(body["code"], rejection.code());
            assert_eq!(body["status"], status);
            assert_eq!(body["trace_id"], "abc");
            assert_eq!(body["errors"], Value::Array(Vec::new()));
        }
    }

    #[tokio::test]
    async fn an_outage_has_retry_after() {
        let (status, response, body) = written(Unavailable::from(sqlx::Error::PoolTimedOut)).await;
        assert_eq!(status, 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(body["code"], "database_unavailable");
        assert_eq!(written(sqlx::Error::RowNotFound).await.0, 500);
    }

    #[tokio::test]
    async fn an_error_of_the_framework_becomes_a_problem() {
        for status in [404, 405, 413, 415, 400, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = render(status.into_response(), "abc", Shape::Problem);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        let fine = render(StatusCode::NO_CONTENT.into_response(), "abc", Shape::Problem);
        assert!(fine.headers().get("content-type").is_none());
    }
}
