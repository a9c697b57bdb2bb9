//! Lists: their limit, their opaque cursors and the link to what comes next.

use axum::Json;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventsourcing::Position;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::problem::Problem;
use super::receipt::POSITION;

/// Items on a page when the query does not say.
pub(super) const DEFAULT_LIMIT: u32 = 100;
/// Items on a page at most.
pub(super) const MAX_LIMIT: u32 = 500;

/// Items on a page: 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u32);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl From<Limit> for i64 {
    fn from(Limit(limit): Limit) -> Self {
        limit.into()
    }
}

impl From<Limit> for usize {
    fn from(Limit(limit): Limit) -> Self {
        limit as usize
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = u32::deserialize(deserializer)?;
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(Self(limit))
        } else {
            let detail = format_args!("not between 1 and {MAX_LIMIT}");
            Err(serde::de::Error::custom(detail))
        }
    }
}

/// Where a list goes on. What it holds is between us and ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Cursor(String);

impl Cursor {
    /// The cursor that stands for `place`.
    pub(super) fn to(place: &impl Serialize) -> Result<Self, Problem> {
        let json = serde_json::to_vec(place).map_err(|error| Problem::internal(&error))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(json)))
    }

    /// The place it stands for.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).unwrap_or_default();
        serde_json::from_slice(&bytes)
            .map_err(|_unreadable| Problem::parameter("cursor", "not a cursor of this list"))
    }
}

impl From<Cursor> for String {
    fn from(Cursor(text): Cursor) -> Self {
        text
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
}

/// The page as an answer. `next` is the parameter that leads on, and its value.
pub(super) fn respond<T: Serialize>(
    uri: &Uri,
    items: Vec<T>,
    next: Option<(&str, String)>,
    position: Position,
) -> Response {
    let headers = [(POSITION, position.to_string())];
    let mut response = (headers, Json(Page { items })).into_response();
    link(&mut response, uri, next);
    response
}

/// A page of rows that were asked for with `limit`: if it is full, `place` of its last row is where
/// the next one begins.
pub(super) fn full<T: Serialize, P: Serialize>(
    uri: &Uri,
    rows: Vec<T>,
    limit: Limit,
    position: Position,
    place: impl Fn(&T) -> P,
) -> Result<Response, Problem> {
    let last = rows.last().filter(|_| rows.len() == usize::from(limit));
    let cursor = last.map(|last| Cursor::to(&place(last))).transpose()?;
    let next = cursor.map(|cursor| ("cursor", cursor.into()));
    Ok(respond(uri, rows, next, position))
}

/// One row as an answer; `version` is that of its stream.
pub(super) fn one(row: impl Serialize, version: Option<i64>, position: Position) -> Response {
    let mut response = ([(POSITION, position.to_string())], Json(row)).into_response();
    if let Some(Ok(tag)) = version.map(|version| format!("\"{version}\"").parse()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Adds `Link: rel="next"`: the same query from another place.
pub(super) fn link(response: &mut Response, uri: &Uri, next: Option<(&str, String)>) {
    let value =
        next.map(|(name, value)| format!("<{}>; rel=\"next\"", elsewhere(uri, name, &value)));
    if let Some(Ok(value)) = value.map(|value| value.parse()) {
        response.headers_mut().insert(header::LINK, value);
    }
}

fn elsewhere(uri: &Uri, name: &str, value: &str) -> String {
    let query = uri.query().unwrap_or_default();
    let others = form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known != name);
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(others)
        .append_pair(name, value)
        .finish();
    format!("{}?{query}", uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let place = (1_700_000_000_123_456_i64, "é/?&".to_owned());
        let cursor = Cursor::to(&place).unwrap();
        assert_eq!(cursor.read::<(i64, String)>().unwrap(), place);
        assert!(cursor.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        for text in ["", "!", "bm9uc2Vuc2U"] {
            assert!(Cursor(text.into()).read::<(i64, String)>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_query_from_another_place() {
        let uri: Uri = "/api/v1/works?done=true&cursor=old&limit=2".parse().unwrap();
        assert_eq!(elsewhere(&uri, "cursor", "new"), "/api/v1/works?done=true&limit=2&cursor=new");
    }

    #[test]
    fn limits_are_between_1_and_500() {
        let read = |text: &str| serde_json::from_str::<Limit>(text);
        assert!(read("1").is_ok() && read("500").is_ok());
        assert!(read("0").is_err() && read("501").is_err() && read("-1").is_err());
    }
}
