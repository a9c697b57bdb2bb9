//! The context of a command: who sends it, in which trace, under which idempotency key, expecting
//! which version; and the one way from a command to its response.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::response::Response;
use commands::{Done, Envelope};
use eventsourcing::Metadata;
use eventstore::NewReceipt;
use utoipa::IntoParams;

use super::api::Api;
use super::caller::Caller;
use super::entity_tag::IfMatch;
use super::headers;
use super::idempotency::KeyedRequest;
use super::problem::Problem;
use super::receipt::StoredResponse;
use super::request_trace::RequestTrace;

/// Headers of every command.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `CommandContext`; this is for the document")]
pub(super) struct CommandHeaders {
    /// Makes the request safe to repeat: a second request with the same key is not executed again
    /// and returns the first response with its headers, and `Idempotency-Replayed: true`. It must have the same path, query and body: 422
    /// `idempotency_key_reused` otherwise. 1 to 200 printable ASCII characters without spaces; kept
    /// for 7 days.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, max_length = 200, example = "9f1c2b7e")]
    idempotency_key: Option<String>,
    /// `wait=N`: respond once the read model shows the change, after at most N seconds (at most
    /// 20). The default is not to wait.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
    /// `ETag`s that the change may be based on: 412 if the resource has none of them by now. A weak
    /// tag never matches.
    #[param(rename = "If-Match", value_type = String, required = false)]
    if_match: Option<String>,
    /// W3C trace context; stored with the events.
    #[param(value_type = String, required = false)]
    traceparent: Option<String>,
}

/// What surrounds a command of a signed-in caller.
#[derive(Debug)]
pub(super) struct CommandContext {
    pub(super) api: Arc<Api>,
    pub(super) caller: Caller,
    pub(super) trace: RequestTrace,
    /// How long to wait for the read model; none: not at all.
    pub(super) wait: Option<Duration>,
    /// The states that the command may be based on.
    pub(super) if_match: IfMatch,
    /// The caller's idempotency key behind method, path template and subject, so that the keys of
    /// two callers cannot collide; and the request that it belongs to.
    key: Option<(String, KeyedRequest)>,
}

/// The same for routes without a token. Their callers share one space of idempotency keys, so keys
/// should be random.
#[derive(Debug)]
pub(super) struct OpenCommandContext(pub(super) CommandContext);

impl FromRequestParts<Arc<Api>> for CommandContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        Self::of(caller, parts, api).await
    }
}

impl FromRequestParts<Arc<Api>> for OpenCommandContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        CommandContext::of(Caller::anonymous(), parts, api).await.map(Self)
    }
}

impl CommandContext {
    async fn of(caller: Caller, parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Ok(trace) = RequestTrace::from_request_parts(parts, api).await;
        let template = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let key = headers::idempotency_key(&parts.headers)?
            .map(|key| format!("{} {template} {} {key}", parts.method, caller.subject));
        let key = match key {
            None => None,
            Some(key) => {
                let request = Extension::<KeyedRequest>::from_request_parts(parts, api).await;
                let Extension(request) = request.map_err(|error| Problem::internal(&error))?;
                Some((key, request))
            }
        };
        let wait = headers::preferred_wait(&parts.headers);
        let if_match = IfMatch::of(&parts.headers)?;
        Ok(Self { api: Arc::clone(api), caller, trace, wait, if_match, key })
    }

    /// Actor, correlation and trace, for the events.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata { actor: Some(self.caller.subject.clone()), ..self.trace.metadata() }
    }

    /// The command's envelope. A repetition of the whole request gets `response`.
    pub(super) fn envelope(&self, response: &StoredResponse) -> Result<Envelope, Problem> {
        self.keyed(response, KeyedRequest::fingerprint)
    }

    /// The envelope of a command whose body holds a secret. A repetition is compared by method, path,
    /// query and `content`, the body without its secret; the caller compares the secret.
    pub(super) fn envelope_without_secret(
        &self,
        content: &[u8],
        response: &StoredResponse,
    ) -> Result<Envelope, Problem> {
        self.keyed(response, |request| request.fingerprint_of(content))
    }

    fn keyed(
        &self,
        response: &StoredResponse,
        fingerprint: impl FnOnce(&KeyedRequest) -> [u8; 32],
    ) -> Result<Envelope, Problem> {
        let receipt = match &self.key {
            None => None,
            Some((key, request)) => Some(NewReceipt {
                key: key.clone(),
                fingerprint: fingerprint(request),
                response: Box::<str>::from(response.to_json()?),
            }),
        };
        let (metadata, expected) = (self.metadata(), self.if_match.versions());
        Ok(Envelope { metadata, receipt, expected, ..Envelope::default() })
    }

    /// Executes a command, waits for `projection` as long as the caller prefers, and responds with
    /// `response`, or with the stored response if the command was executed before.
    pub(super) async fn execute<F, E>(
        &self,
        projection: &'static str,
        response: StoredResponse,
        execute: impl FnOnce(Envelope) -> F,
    ) -> Result<Response, Problem>
    where
        F: Future<Output = Result<Done, E>>,
        Problem: From<E>,
    {
        let done = execute(self.envelope(&response)?).await?;
        self.respond(projection, response, &done).await
    }

    /// Waits for `projection` to apply an executed command as long as the caller prefers, and
    /// responds.
    pub(super) async fn respond(
        &self,
        projection: &'static str,
        response: StoredResponse,
        done: &Done,
    ) -> Result<Response, Problem> {
        self.api.wait.command(projection, done.position, self.wait).await;
        response.or_replayed(done)?.into_response(done.position)
    }
}
