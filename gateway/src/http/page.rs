//! Pages of lists: their limit, their opaque cursors and the link to the next page.

use axum::Json;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventsourcing::Position;
use eventsourcing::json::{holds_nul, integer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::entity_tag::EntityTag;
use super::headers::POSITION;
use super::nul;
use super::problem::Problem;

/// Items on a page without the parameter `limit`.
pub(super) const DEFAULT_LIMIT: u32 = 100;
/// Most items on a page.
pub(super) const MAX_LIMIT: u32 = 500;

/// Items on a page: 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u32);

impl Limit {
    /// The longest page.
    pub(super) const MOST: Self = Self(MAX_LIMIT);
}

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
        // A parameter is a text. `10.0` is a whole number, as in a body.
        let limit = integer(&String::deserialize(deserializer)?);
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).map(Self).ok_or_else(|| {
            let detail = format_args!("must be a whole number between 1 and {MAX_LIMIT}");
            serde::de::Error::custom(detail)
        })
    }
}

/// Where the next page of a list begins. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Cursor(String);

impl Cursor {
    /// The cursor for `key`, the sort key of the last row of a page.
    pub(super) fn to(key: &impl Serialize) -> Result<Self, Problem> {
        let json = serde_json::to_vec(key).map_err(|error| Problem::internal(&error))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(json)))
    }

    /// The sort key in the cursor.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).unwrap_or_default();
        if holds_nul(&String::from_utf8_lossy(&bytes)) {
            return Err(nul::problem("the cursor"));
        }
        serde_json::from_slice(&bytes).map_err(|_unreadable| {
            Problem::parameter("cursor", "must be a cursor from the `Link` header of this list")
        })
    }
}

/// The parameters of a list without filters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Most items on the page (default 100). A page of large items may hold fewer.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    pub(super) limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    pub(super) cursor: Option<Cursor>,
}

/// The sort key after which a page begins, if the query has a cursor.
pub(super) fn after<T: DeserializeOwned>(cursor: Option<&Cursor>) -> Result<Option<T>, Problem> {
    cursor.map(Cursor::read).transpose()
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items, in the order of the list.
    pub(super) items: Vec<T>,
}

/// A query parameter that leads to the next page, and its value.
pub(super) type Next = Option<(&'static str, String)>;

/// The cursor of the page after the row with this sort key.
pub(super) fn next(key: Option<&impl Serialize>) -> Result<Next, Problem> {
    let cursor = key.map(Cursor::to).transpose()?;
    Ok(cursor.map(|Cursor(text)| ("cursor", text)))
}

/// Responds with a page and the link to the next one.
pub(super) fn respond<T: Serialize>(
    uri: &Uri,
    items: Vec<T>,
    next: Next,
    position: Position,
) -> Response {
    let headers = [(POSITION, position.to_string())];
    let mut response = (headers, Json(Page { items })).into_response();
    link(&mut response, uri, next);
    response
}

/// Responds with a page of rows that were selected with `limit`. If it is full, the next page begins
/// after `key` of its last row.
pub(super) fn full<T: Serialize, P: Serialize>(
    uri: &Uri,
    rows: Vec<T>,
    limit: Limit,
    position: Position,
    key: impl Fn(&T) -> P,
) -> Result<Response, Problem> {
    let last = rows.last().filter(|_| rows.len() == usize::from(limit)).map(key);
    let next = next(last.as_ref())?;
    Ok(respond(uri, rows, next, position))
}

/// Responds with one row. `version` is that of its stream and becomes the `ETag`.
pub(super) fn one(row: impl Serialize, version: Option<i64>, position: Position) -> Response {
    tagged(row, version.map(EntityTag::from), position)
}

/// Responds with one row and its `ETag`.
pub(super) fn tagged(row: impl Serialize, tag: Option<EntityTag>, position: Position) -> Response {
    let mut response = ([(POSITION, position.to_string())], Json(row)).into_response();
    if let Some(tag) = tag.and_then(|tag| tag.header()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Adds `Link: rel="next"`: the same query with another value of one parameter.
pub(super) fn link(response: &mut Response, uri: &Uri, next: Next) {
    let value =
        next.map(|(name, value)| format!("<{}>; rel=\"next\"", with_parameter(uri, name, &value)));
    if let Some(Ok(value)) = value.map(|value| value.parse()) {
        response.headers_mut().insert(header::LINK, value);
    }
}

fn with_parameter(uri: &Uri, name: &str, value: &str) -> String {
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
    fn a_cursor_returns_the_key_it_was_made_of() {
        let key = (1_700_000_000_123_456_i64, "é/?&".to_owned());
        let cursor = Cursor::to(&key).unwrap();
        assert_eq!(cursor.read::<(i64, String)>().unwrap(), key);
        assert!(cursor.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        for text in ["", "!", "bm9uc2Vuc2U"] {
            assert!(Cursor(text.into()).read::<(i64, String)>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_query_with_another_cursor() {
        let uri: Uri = "/api/v1/works?done=true&cursor=old&limit=2".parse().unwrap();
        assert_eq!(
            with_parameter(&uri, "cursor", "new"),
            "/api/v1/works?done=true&limit=2&cursor=new"
        );
    }

    #[test]
    fn limits_are_between_1_and_500() {
        let read = |text: &str| serde_json::from_value::<Limit>(text.into());
        for text in ["1", "500", "10.0", "1e1"] {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in ["0", "501", "-1", "1.5", "", "x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
