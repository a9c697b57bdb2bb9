//! The response to a command, as the log stores it under the command's idempotency key, in the same
//! transaction as the events. A repetition gets it again, with its headers.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::Done;
use eventsourcing::{Position, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::entity_tag::EntityTag;
use super::headers::{POSITION, REPLAYED};
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
    /// JSON pointers to the times in the body at which the command was recorded. They are known only
    /// after the commit; the body that is stored has the time before. Receipts of earlier versions
    /// have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recorded: Vec<String>,
    /// The tag of a resource that shows further streams; without it, `version` is the tag.
    #[serde(skip)]
    tag: Option<EntityTag>,
    /// Whether the command was executed before.
    #[serde(skip)]
    replayed: bool,
}

impl StoredResponse {
    /// A response with `row` as its body.
    pub(super) fn new(
        status: StatusCode,
        location: String,
        version: Version,
        row: &impl Serialize,
    ) -> Result<Self, Problem> {
        let (status, body) = (status.as_u16(), json(row)?);
        let recorded = Vec::new();
        Ok(Self { status, location, version, body, recorded, tag: None, replayed: false })
    }

    /// The same response, in whose body the members `pointers` are the time at which the command was
    /// recorded: in RFC 3339, or in seconds since the epoch if they are numbers.
    #[must_use]
    pub(super) fn recorded_at(self, pointers: &[&str]) -> Self {
        Self { recorded: pointers.iter().map(|&pointer| pointer.to_owned()).collect(), ..self }
    }

    /// The same response with this `ETag`.
    #[must_use]
    pub(super) fn tagged(self, tag: impl Into<EntityTag>) -> Self {
        Self { tag: Some(tag.into()), ..self }
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
        let first = match &done.replayed {
            None => self,
            Some(receipt) => {
                let stored: Self = serde_json::from_str(&receipt.response)
                    .map_err(|error| Problem::internal(&error))?;
                Self { tag: self.tag, replayed: true, ..stored }
            }
        };
        let version = if done.version > Version::NONE { done.version } else { first.version };
        Self { version, ..first }.with_time(done.recorded_at)
    }

    fn with_time(self, recorded_at: Option<DateTime<Utc>>) -> Result<Self, Problem> {
        let Some(time) = recorded_at.filter(|_| !self.recorded.is_empty()) else {
            return Ok(self);
        };
        let mut body: Value = self.read()?;
        for pointer in &self.recorded {
            if let Some(member) = body.pointer_mut(pointer) {
                *member = if member.is_number() {
                    time.timestamp().into()
                } else {
                    serde_json::to_value(time).map_err(|error| Problem::internal(&error))?
                };
            }
        }
        self.with_body(&body)
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
        let version = (self.version > Version::NONE).then(|| self.version.into());
        if let Some(tag) = self.tag.or(version).and_then(|tag| tag.header()) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
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
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_repetition_gets_the_first_response() {
        let recorded_at = DateTime::from_timestamp_micros(1_700_000_000_123_456);
        let done = |replayed| {
            let done = Done::nothing_new(Position(7), Version(3));
            Done { recorded_at, replayed, ..done }
        };
        // The handler's clock; the answer has the time of the log.
        let now = DateTime::from_timestamp_nanos(1_700_000_000_999_999_999);
        let response = |id: &str| {
            let row = json!({"id": id, "created_at": now, "created_on": now.timestamp()});
            StoredResponse::new(StatusCode::ACCEPTED, format!("/{id}"), Version::NONE, &row)
                .unwrap()
                .recorded_at(&["/created_at", "/created_on", "/absent"])
        };
        let stored = serde_json::to_string(&response("first")).unwrap();
        let receipt = Receipt {
            fingerprint: Vec::new(),
            position: Position(7),
            recorded_at: recorded_at.unwrap(),
            response: stored.into(),
        };
        let respond = |id, done: Done| {
            response(id).or_replayed(&done).unwrap().into_response(done.position).unwrap()
        };
        let first = respond("first", done(None));
        let mut repetition = respond("second", done(Some(receipt)));
        assert_eq!(first.status(), repetition.status());
        assert_eq!(first.headers()["etag"], "\"3\"");
        assert_eq!(repetition.headers_mut().remove(REPLAYED).unwrap(), "true");
        assert_eq!(first.headers(), repetition.headers());
        let read = |response: Response| async {
            let bytes = response.collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        let body = read(first).await;
        assert_eq!(body["created_at"], "2023-11-14T22:13:20.123456Z");
        assert_eq!(body["created_on"], 1_700_000_000);
        assert_eq!(body, read(repetition).await);
    }

    #[tokio::test]
    async fn a_receipt_of_an_earlier_version_is_readable() {
        let old = r#"{"status":201,"location":"/a","version":1,"body":{"id":"a"}}"#;
        let stored: StoredResponse = serde_json::from_str(old).unwrap();
        let response = stored.into_response(Position(1)).unwrap();
        assert_eq!(
            (response.status(), &response.headers()["etag"]),
            (StatusCode::CREATED, &"\"1\"".parse().unwrap())
        );
    }
}
