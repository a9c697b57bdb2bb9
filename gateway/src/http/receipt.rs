//! What comes with a command, and what it is answered with. A command with an `Idempotency-Key`
//! has its whole answer kept in the log's transaction; asked again, it is given again.

use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::{Done, Envelope};
use eventsourcing::{Metadata, Position, Version};
use eventstore::NewReceipt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::caller::Caller;
use super::problem::Problem;
use super::request_trace::Trace;
use super::wait;

/// Longest `Idempotency-Key`, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 200;

/// How far the log was when the command was done: wait for this position to see what it did.
pub(super) const POSITION: &str = "tributary-position";

/// Headers every command understands.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `Asked`; this is for the document")]
pub(super) struct CommandHeaders {
    /// Names this request: sent again with the same key it is done once, and answered the same.
    /// 1 to 200 printable characters without spaces; remembered for 7 days.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, max_length = 200, example = "9f1c2b7e")]
    idempotency_key: Option<String>,
    /// `wait=N`: answer once the read model shows what was done, after at most N seconds.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
    /// The `ETag` the change was made for: 412 if it is another by now.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: Option<String>,
    /// W3C trace context; stands in the events.
    #[param(value_type = String, required = false)]
    traceparent: Option<String>,
}

/// Everything that surrounds a command.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) trace: Trace,
    /// How long the caller wants to wait for the read model.
    pub(super) wait: Option<Duration>,
    /// The version the caller believes it to be at.
    pub(super) expected: Option<Version>,
    /// Method, path template and subject with the caller's key: two callers cannot meet in it.
    key: Option<String>,
}

/// The same for what needs no token. All who call without one share their keys: whoever wants one
/// that nobody else uses draws it at random.
#[derive(Debug)]
pub(super) struct OpenAsked(pub(super) Asked);

/// The answer to a command; kept in its receipt as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    status: u16,
    location: String,
    /// 0 where it is not known before the commit.
    version: Version,
    /// `null` where there is none.
    body: Box<RawValue>,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Self::by(caller, parts, state).await
    }
}

impl<S: Sync> FromRequestParts<S> for OpenAsked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Asked::by(Caller::anonymous(), parts, state).await.map(Self)
    }
}

impl Asked {
    async fn by<S: Sync>(caller: Caller, parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(trace) = Trace::from_request_parts(parts, state).await;
        let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let key = given_key(&parts.headers)?
            .map(|key| format!("{} {template} {} {key}", parts.method, caller.subject));
        let wait = wait::preferred(&parts.headers);
        let expected = if_match(&parts.headers)?;
        Ok(Self { caller, trace, wait, expected, key })
    }
}

fn given_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let fits = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    value.to_str().ok().filter(|_| fits).map(Some).ok_or_else(|| {
        let detail = "1 to 200 printable characters without spaces";
        Problem::parameter("Idempotency-Key", detail)
    })
}

/// `If-Match` (RFC 9110) with the one `ETag` we give out, or `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match version.and_then(|version| version.parse().ok()) {
        Some(version) => Ok(Some(Version(version))),
        None => Err(Problem::parameter("If-Match", "not an ETag of ours")),
    }
}

impl Asked {
    /// Who asked, and in which trace.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            correlation_id: Some(self.trace.id),
            causation_id: None,
            actor: Some(self.caller.subject.clone()),
            traceparent: Some(self.trace.traceparent.clone()),
        }
    }

    /// What goes with the command: `request` is what a repetition must equal, `answer` what it is
    /// answered with.
    pub(super) fn envelope(&self, request: &[u8], answer: &Answer) -> Result<Envelope, Problem> {
        let receipt = match &self.key {
            None => None,
            Some(key) => {
                let kept = serde_json::value::to_raw_value(answer)
                    .map_err(|error| Problem::internal(&error))?;
                Some(NewReceipt::new(key.clone(), request, kept))
            }
        };
        Ok(Envelope {
            metadata: self.metadata(),
            receipt,
            expected: self.expected,
            ..Envelope::default()
        })
    }
}

impl Answer {
    /// An answer whose body is `row`.
    pub(super) fn new(
        status: StatusCode,
        location: String,
        version: Version,
        row: &impl Serialize,
    ) -> Result<Self, Problem> {
        let body =
            serde_json::value::to_raw_value(row).map_err(|error| Problem::internal(&error))?;
        Ok(Self { status: status.as_u16(), location, version, body })
    }

    /// Done, and no more to say than where to look at it: 204.
    pub(super) fn no_content(location: String) -> Result<Self, Problem> {
        Self::new(StatusCode::NO_CONTENT, location, Version::NONE, &())
    }

    /// The answer to give now: this one, or the one that was given the first time.
    pub(super) fn respond(self, done: &Done) -> Result<Response, Problem> {
        self.given(done)?.write(done.position)
    }

    /// The answer to give now, before it is written.
    pub(super) fn given(self, done: &Done) -> Result<Self, Problem> {
        match &done.replayed {
            None => Ok(Self { version: done.version, ..self }),
            Some(receipt) => {
                serde_json::from_str(&receipt.response).map_err(|error| Problem::internal(&error))
            }
        }
    }

    /// What stands in its body.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_str(self.body.get()).map_err(|error| Problem::internal(&error))
    }

    /// The same with another body, for answers of which a receipt must not keep everything.
    pub(super) fn with_body(self, row: &impl Serialize) -> Result<Self, Problem> {
        let body =
            serde_json::value::to_raw_value(row).map_err(|error| Problem::internal(&error))?;
        Ok(Self { body, ..self })
    }

    /// The answer as a response.
    pub(super) fn write(self, position: Position) -> Result<Response, Problem> {
        let answer = self;
        let status =
            StatusCode::from_u16(answer.status).map_err(|error| Problem::internal(&error))?;
        let headers =
            [(header::LOCATION.as_str(), answer.location), (POSITION, position.to_string())];
        let mut response = if status == StatusCode::NO_CONTENT {
            (status, headers).into_response()
        } else {
            let body: Box<str> = answer.body.into();
            (status, headers, [(header::CONTENT_TYPE, "application/json")], String::from(body))
                .into_response()
        };
        if answer.version > Version::NONE
            && let Ok(tag) = format!("\"{}\"", answer.version).parse()
        {
            response.headers_mut().insert(header::ETAG, tag);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use eventstore::Receipt;
    use http_body_util::BodyExt;

    use super::*;

    fn headers(key: &str) -> HeaderMap {
        HeaderMap::from_iter([("idempotency-key".parse().unwrap(), key.parse().unwrap())])
    }

    #[test]
    fn keys_are_printable_and_short() {
        assert_eq!(given_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(given_key(&headers("a-1")).unwrap(), Some("a-1"));
        for key in ["", "a b", &"x".repeat(201), "é"] {
            assert!(given_key(&headers(key)).is_err(), "{key}");
        }
    }

    #[tokio::test]
    async fn a_repetition_is_answered_like_the_first() {
        let done = |replayed| Done { position: Position(7), version: Version(1), replayed };
        let answer = |id: &str| {
            Answer::new(StatusCode::ACCEPTED, format!("/{id}"), Version(1), &id).unwrap()
        };
        let kept = serde_json::to_string(&answer("first")).unwrap();
        let receipt =
            Receipt { fingerprint: Vec::new(), position: Position(7), response: kept.into() };
        let first = answer("first").respond(&done(None)).unwrap();
        let again = answer("second").respond(&done(Some(receipt))).unwrap();
        assert_eq!(first.status(), again.status());
        assert_eq!(first.headers(), again.headers());
        let bytes = |response: Response| async { response.collect().await.unwrap().to_bytes() };
        assert_eq!(bytes(first).await, bytes(again).await);
    }
}
