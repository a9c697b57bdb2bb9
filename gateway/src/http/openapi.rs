//! The OpenAPI document. Handlers describe their own routes; headers and problems that all routes
//! share are added here.

use std::collections::BTreeSet;

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, Header, Ref, RefOr, Response, Schema};
use utoipa::{OpenApi, PartialSchema, ToSchema};

use super::console::TailSample;
use super::entity_tag;
use super::headers::MIN_POSITION;
use super::operation_ids;
use super::problem::{Fault, ProblemBody};
use super::request_examples;
use crate::vitals::Vitals;

/// Name of the security scheme.
const BEARER: &str = "bearer";

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Tributary",
        description = "An event-sourced backend: commands are recorded as events in one log, and read \
                   models are derived from it. Error responses are problem details (RFC 9457). \
                   Request bodies may be compressed (`Content-Encoding: gzip`, `br` or `zstd`); the \
                   limit on bodies holds for the decoded size."
    ),
    components(schemas(Vitals, TailSample))
)]
struct Document;

/// The document without routes.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Adds what all routes share.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_with(Components::new);
    refer_to_items(components);
    components.schemas.insert("Problem".into(), ProblemBody::schema());
    components.schemas.insert(Fault::name().into(), Fault::schema());
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.bearer_format = Some("JWT".into());
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let handler = operation.operation_id.as_deref().unwrap_or_default();
            operation.operation_id = Some(operation_ids::of(method, path, handler));
            add_example(operation);
            add_headers(operation);
            add_problems(path, operation);
        }
        if let Some(get) = &mut item.get {
            entity_tag::describe(get);
        }
    }
    document
}

/// Makes each page refer to the schema of its items, which is inlined otherwise: clients get one type for
/// an item of a list and the same thing alone.
fn refer_to_items(components: &mut Components) {
    let names: BTreeSet<String> = components.schemas.keys().cloned().collect();
    for (name, schema) in &mut components.schemas {
        let item = name.strip_prefix("Page_").filter(|item| names.contains(*item));
        let (Some(item), RefOr::T(Schema::Object(page))) = (item, schema) else { continue };
        if let Some(RefOr::T(Schema::Array(list))) = page.properties.get_mut("items") {
            list.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}

/// The operations of a path with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Headers of successful responses: status or its prefix, name and description.
const HEADERS: &[(&str, &str, &str)] = &[
    (
        "2",
        "Tributary-Position",
        "Position that the read model has applied; for a command, the position of its last event",
    ),
    ("200", "Link", "The next page of a list, `rel=\"next\"`"),
    (
        "20",
        "ETag",
        "Tag of the resource: of the versions of all that it shows, or the digest of a list",
    ),
    ("201", "Location", "Path of the resource"),
    ("202", "Location", "Path of the resource"),
    ("204", "Location", "Path of the resource"),
    (
        "2",
        "X-Request-Id",
        "The caller's `X-Request-Id`, or the trace id; in the log with each refused request",
    ),
    ("2", "RateLimit-Policy", "The client's quotas: requests `q` in a window of `w` seconds"),
    ("2", "RateLimit", "What is left of them: requests `r`, and all again in `t` seconds"),
];

/// Adds an example to a body of JSON or a form.
fn add_example(operation: &mut Operation) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let Some(RefOr::T(body)) = operation.request_body.as_mut() else { return };
    for (media_type, content) in &mut body.content {
        if let (RefOr::T(content), true) = (content, media_type != "text/plain") {
            content.example = request_examples::of(id);
        }
    }
}

/// Header of the successful responses of commands with an idempotency key.
const REPLAYED: (&str, &str, &str) = (
    "2",
    "Idempotency-Replayed",
    "`true` if this is the response to an earlier request with the key",
);

fn has_parameter(operation: &Operation, name: &str) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|known| matches!(known, RefOr::T(known) if known.name == name))
}

fn add_headers(operation: &mut Operation) {
    let replayed = has_parameter(operation, "Idempotency-Key").then_some(&REPLAYED);
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (prefix, name, description) in HEADERS.iter().chain(replayed) {
            if status.starts_with(prefix) && !response.headers.contains_key(*name) {
                let mut header = Header::default();
                header.description = Some((*description).into());
                response.headers.insert((*name).into(), header.into());
            }
        }
    }
}

/// Why a query may not find what a command has just created.
const NOT_YET: &str = ". Right after a command, the read model may not show its effect yet: a query with \
    the command's `Tributary-Position` as `Tributary-Min-Position` waits for it";

/// Adds the problems that all requests of its kind can have; a handler describes special ones.
fn add_problems(path: &str, operation: &mut Operation) {
    let has = |name: &str| has_parameter(operation, name);
    let mut expected = vec![
        ("500", "The server failed to process the request"),
        ("503", "Temporarily unavailable; repeat the request after `Retry-After` seconds"),
    ];
    if !["/livez", "/readyz", "/startupz"].contains(&path) {
        expected.push(("429", "Too many requests; repeat the request after `Retry-After` seconds"));
    }
    if operation.security.is_none() {
        expected.push(("401", "The token is missing, invalid or expired"));
        expected.push(("403", "The caller may not do this"));
    }
    if path.contains('{') {
        expected.push(("404", "There is no such resource, or it is not visible to this caller"));
    }
    if has("Idempotency-Key") {
        expected.push(("409", "The state of the resource does not allow the change"));
    }
    if has("If-Match") {
        expected.push(("412", "The resource has none of the tags in `If-Match`"));
    }
    if operation.request_body.is_some() {
        expected.push(("400", "The body is not JSON, or the path contains a NUL character"));
        expected.push(("413", "The body is too large"));
        expected.push(("415", "The content type, or the content encoding, is not supported; `Accept-Encoding` lists the encodings"));
        expected.push(("422", "The body is invalid"));
    }
    expected.push(("400", "The path or a parameter contains a NUL character"));
    if operation.parameters.is_some() {
        expected.push(("422", "A parameter or header is invalid"));
    }
    let of_read_model = has(MIN_POSITION);
    let responses = &mut operation.responses.responses;
    for (status, description) in expected {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| ResponseBuilder::new().description(description).build().into());
    }
    if let (true, Some(RefOr::T(missing))) = (of_read_model, responses.get_mut("404")) {
        missing.description += NOT_YET;
    }
    for (status, response) in responses.iter_mut() {
        if let (true, RefOr::T(response)) = (status.as_str() >= "400", response) {
            make_problem(response, status);
        }
    }
}

fn make_problem(response: &mut Response, status: &str) {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.insert("application/problem+json".into(), problem.into());
    let header = match status {
        "401" => "WWW-Authenticate",
        "429" | "503" => "Retry-After",
        _ => return,
    };
    response.headers.insert(header.into(), Header::default().into());
}
