//! Entity tags and conditional requests (RFC 9110, 8.8.3 and 13.1): one type for the tags of all
//! resources, `If-Match`, and one layer that answers `If-None-Match` with 304.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventsourcing::Version;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Header, RefOr, Response as OpenApiResponse};

use super::problem::Problem;

/// Largest JSON body that gets a tag by its digest, in bytes; larger ones have none.
const MAX_DIGEST_BYTES: u64 = 16 * 1024 * 1024;

/// A strong entity tag: the versions of all streams that the response shows, such as `"3"` of an
/// alert, or `"3.5"` of a product and its stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// The value of `ETag`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        format!("\"{}\"", self.0).parse().ok()
    }
}

impl From<i64> for EntityTag {
    fn from(version: i64) -> Self {
        Self(version.to_string())
    }
}

impl From<Version> for EntityTag {
    fn from(Version(version): Version) -> Self {
        version.into()
    }
}

impl From<[i64; 2]> for EntityTag {
    fn from([first, second]: [i64; 2]) -> Self {
        Self(format!("{first}.{second}"))
    }
}

/// `If-Match` of a command: the tags of which the resource must have one. `None`: any, because the
/// header is missing or `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IfMatch(Option<Vec<Vec<Version>>>);

impl IfMatch {
    /// Reads the header. A weak tag never matches, and neither does one that this API does not make.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match condition(headers, &header::IF_MATCH) {
            Ok(None | Some(Condition::Any)) => Ok(Self(None)),
            Ok(Some(Condition::OneOf(tags))) => {
                let strong = tags.into_iter().filter(|tag| !tag.weak);
                Ok(Self(Some(strong.filter_map(|tag| versions(&tag.opaque)).collect())))
            }
            Err(Malformed) => Err(Problem::parameter("If-Match", "must be a list of ETags, or *")),
        }
    }

    /// Whether the caller gave a condition.
    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// The versions in tags of `N` streams; `None` without a condition.
    pub(super) fn streams<const N: usize>(&self) -> Option<Vec<[Version; N]>> {
        let tags = self.0.as_ref()?.iter();
        Some(tags.filter_map(|tag| tag.as_slice().try_into().ok()).collect())
    }

    /// The versions in tags of one stream; `None` without a condition.
    pub(super) fn versions(&self) -> Option<Vec<Version>> {
        Some(self.streams()?.into_iter().map(|[version]| version).collect())
    }

    /// The first versions of all tags, for a resource whose other streams no command depends on;
    /// `None` without a condition.
    pub(super) fn first_versions(&self) -> Option<Vec<Version>> {
        Some(self.0.as_ref()?.iter().filter_map(|tag| tag.first().copied()).collect())
    }
}

/// The versions in a tag of this API; `None` in any other.
fn versions(opaque: &str) -> Option<Vec<Version>> {
    opaque.split('.').map(|part| part.parse().ok().map(Version)).collect()
}

/// A tag in the header of a conditional request.
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// `*`: any tag.
    Any,
    OneOf(Vec<Tag>),
}

/// The header of a conditional request is neither `*` nor a list of tags.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// The condition in the header `name`, if the request has one.
fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Malformed> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let lines = headers.get_all(name).iter().map(|value| value.to_str().ok());
    let lines: Vec<_> = lines.collect::<Option<_>>().ok_or(Malformed)?;
    parse(&lines.join(",")).map(Some).ok_or(Malformed)
}

/// Parses `*` or a list of tags. A tag may contain commas.
fn parse(text: &str) -> Option<Condition> {
    const SPACE: [char; 2] = [' ', '\t'];
    if text.trim_matches(SPACE) == "*" {
        return Some(Condition::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        let after = after.trim_start_matches(SPACE);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        tags.push(Tag { weak, opaque: opaque.to_owned() });
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    (!tags.is_empty()).then_some(Condition::OneOf(tags))
}

/// The layer of all routes. Gives every JSON response to a GET an `ETag`: that of the handler, or the
/// digest of the body; and answers 304 if the caller's `If-None-Match` has that tag. A malformed
/// `If-None-Match` is ignored.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let known = condition(request.headers(), &header::IF_NONE_MATCH).ok().flatten();
    let digestible = request.method() == Method::GET;
    let mut response = next.run(request).await;
    if !reads || response.status() != StatusCode::OK {
        return response;
    }
    if digestible && !response.headers().contains_key(header::ETAG) {
        response = tagged_by_digest(response).await;
    }
    let Some(tag) = response.headers().get(header::ETAG).cloned() else {
        return response;
    };
    // A cache must not show one caller's resource to another, whose version is the same.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("authorization"));
    if known.is_some_and(|known| known.names(&tag)) { not_modified(response) } else { response }
}

impl Condition {
    /// Whether `tag` is one of these, by the weak comparison of `If-None-Match`.
    fn names(&self, tag: &HeaderValue) -> bool {
        let opaque = tag.to_str().unwrap_or_default().trim_start_matches("W/").trim_matches('"');
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|known| known.opaque == opaque),
        }
    }
}

/// The response with the digest of its body as the tag, if it is JSON and not a stream.
async fn tagged_by_digest(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !json || body.size_hint().exact().is_none_or(|bytes| bytes > MAX_DIGEST_BYTES) {
        return Response::from_parts(parts, body);
    }
    match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..16]);
            if let Ok(tag) = format!("\"d-{digest}\"").parse() {
                parts.headers.insert(header::ETAG, tag);
            }
            Response::from_parts(parts, Body::from(bytes))
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// 304 with the headers of `response` that do not describe its body.
fn not_modified(response: Response) -> Response {
    let (mut parts, _body) = response.into_parts();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        parts.headers.remove(name);
    }
    parts.status = StatusCode::NOT_MODIFIED;
    Response::from_parts(parts, Body::empty())
}

/// Describes the layer in the document of a GET whose response is JSON.
pub(super) fn describe(operation: &mut Operation) {
    let success = operation.responses.responses.get("200");
    let json = |response: &RefOr<OpenApiResponse>| matches!(response, RefOr::T(response) if response.content.contains_key("application/json"));
    if !success.is_some_and(json) {
        return;
    }
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let parameter = ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "`ETag`s that the caller has: 304 without a body if the response would have one of them",
        ))
        .schema(Some(text));
    operation.parameters.get_or_insert_default().push(parameter.build().into());
    let unchanged = ResponseBuilder::new()
        .description("The response would have a tag that `If-None-Match` names")
        .header("ETag", Header::default())
        .build();
    operation.responses.responses.insert("304".into(), unchanged.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(values: &[&str]) -> Result<IfMatch, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn if_match_is_a_list_of_strong_tags() {
        let one = |values: &[&str]| {
            if_match(values).unwrap().versions().map(|all| all.iter().map(|v| v.0).collect())
        };
        let expected: &[(&[&str], Option<Vec<i64>>)] = &[
            (&[], None),
            (&["*"], None),
            (&[r#""3""#], Some(vec![3])),
            (&[r#""3", "4""#], Some(vec![3, 4])),
            (&[r#""3""#, r#""4""#], Some(vec![3, 4])),
            (&[r#"W/"3""#], Some(vec![])),
            (&[r#"W/"3","4""#], Some(vec![4])),
            (&[r#""3.5", "a,b" ,"4""#], Some(vec![4])),
        ];
        for (values, versions) in expected {
            assert_eq!(one(values), *versions, "{values:?}");
        }
        let product = if_match(&[r#""3.5", "4""#]).unwrap();
        assert_eq!(product.streams(), Some(vec![[Version(3), Version(5)]]));
        assert_eq!(product.first_versions(), Some(vec![Version(3), Version(4)]));
        for value in ["", "3", r#""3"#, r#""3" "4""#, r#"*, "3""#, r#"w/"3""#] {
            assert!(if_match(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let tag = HeaderValue::from_static("\"3\"");
        let names = |text: &str| parse(text).map(|condition| condition.names(&tag));
        for (text, expected) in [
            ("*", Some(true)),
            (r#""3""#, Some(true)),
            (r#""2", W/"3""#, Some(true)),
            (r#""2""#, Some(false)),
            ("3", None),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }
}
