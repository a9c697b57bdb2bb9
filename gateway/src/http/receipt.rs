//! The response to a command, as the log stores it under the command's idempotency key, in the same
//! transaction as the events. A repetition gets it again.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::Done;
use eventsourcing::{Position, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::headers::POSITION;
use super::problem::Problem;

/// A response to a command; stored as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredResponse {
    status: u16,
    location: String,
    /// Version of the stream after the command; 0 if it is not known before the commit.
    version: Version,
    /// `null` if there is none.
    body: Box<RawValue>,
}

impl StoredResponse {
    /// A response with `row` as its body.
    pub(super) fn new(
        status: StatusCode,
        location: String,
        version: Version,
        row: &impl Serialize,
    ) -> Result<Self, Problem> {
        Ok(Self { status: status.as_u16(), location, version, body: json(row)? })
    }

    /// 204 without a body.
    pub(super) fn no_content(location: String) -> Result<Self, Problem> {
        Self::new(StatusCode::NO_CONTENT, location, Version::NONE, &())
    }

    /// The response as the receipt stores it.
    pub(super) fn to_json(&self) -> Result<Box<RawValue>, Problem> {
        json(self)
    }

    /// This response, or the stored one if the command was executed before.
    pub(super) fn or_replayed(self, done: &Done) -> Result<Self, Problem> {
        match &done.replayed {
            None => Ok(Self { version: done.version, ..self }),
            Some(receipt) => {
                serde_json::from_str(&receipt.response).map_err(|error| Problem::internal(&error))
            }
        }
    }

    /// The body, read.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_str(self.body.get()).map_err(|error| Problem::internal(&error))
    }

    /// The same response with another body, for what a receipt must not store.
    pub(super) fn with_body(self, row: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { body: json(row)?, ..self })
    }

    /// The response with its headers. `position` is that of the command's last event.
    pub(super) fn into_response(self, position: Position) -> Result<Response, Problem> {
        let status =
            StatusCode::from_u16(self.status).map_err(|error| Problem::internal(&error))?;
        let headers =
            [(header::LOCATION.as_str(), self.location), (POSITION, position.to_string())];
        let mut response = if status == StatusCode::NO_CONTENT {
            (status, headers).into_response()
        } else {
            let body: Box<str> = self.body.into();
            (status, headers, [(header::CONTENT_TYPE, "application/json")], String::from(body))
                .into_response()
        };
        if self.version > Version::NONE
            && let Ok(tag) = format!("\"{}\"", self.version).parse()
        {
            response.headers_mut().insert(header::ETAG, tag);
        }
        Ok(response)
    }
}

fn json(value: &impl Serialize) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|error| Problem::internal(&error))
}

#[cfg(test)]
mod tests {
    use eventstore::Receipt;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_repetition_gets_the_first_response() {
        let done = |replayed| Done { position: Position(7), version: Version(1), replayed };
        let response = |id: &str| {
            StoredResponse::new(StatusCode::ACCEPTED, format!("/{id}"), Version(1), &id).unwrap()
        };
        let stored = serde_json::to_string(&response("first")).unwrap();
        let receipt =
            Receipt { fingerprint: Vec::new(), position: Position(7), response: stored.into() };
        let respond = |id, done: Done| {
            response(id).or_replayed(&done).unwrap().into_response(done.position).unwrap()
        };
        let first = respond("first", done(None));
        let repetition = respond("second", done(Some(receipt)));
        assert_eq!(first.status(), repetition.status());
        assert_eq!(first.headers(), repetition.headers());
        let bytes = |response: Response| async { response.collect().await.unwrap().to_bytes() };
        assert_eq!(bytes(first).await, bytes(repetition).await);
    }
}
