//! The document about the API. Handlers describe what is theirs; what is true of every route, the
//! problems above all, is added here once.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Content, Header, Ref, RefOr, Response};
use utoipa::{OpenApi, PartialSchema, ToSchema};

use super::problem::{Body9457, Fault};

/// Name of the security scheme.
const BEARER: &str = "bearer";

#[derive(Debug, OpenApi)]
#[openapi(info(
    title = "Tributary",
    description = "An event-sourced backend: commands in, events kept, read models out. \
                   Whatever is not a success is a problem (RFC 9457)."
))]
struct Document;

/// What the routes' own descriptions are added to.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Adds what is true of every route.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let components = document.components.get_or_insert_with(Components::new);
    components.schemas.insert("Problem".into(), Body9457::schema());
    components.schemas.insert(Fault::name().into(), Fault::schema());
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.bearer_format = Some("JWT".into());
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            add_headers(operation);
            add_problems(path, operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

/// Headers every answer has that is a success, by status.
const HEADERS: &[(&str, &str, &str)] = &[
    ("2", "Tributary-Position", "How far the read model is; for a command, where its events are"),
    ("200", "Link", "The next page of a list, `rel=\"next\"`"),
    ("20", "ETag", "Version of what is shown or was changed"),
    ("201", "Location", "Where it is"),
    ("202", "Location", "Where it is"),
    ("204", "Location", "Where it is"),
];

fn add_headers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (prefix, name, description) in HEADERS {
            if status.starts_with(prefix) && !response.headers.contains_key(*name) {
                let mut header = Header::default();
                header.description = Some((*description).into());
                response.headers.insert((*name).into(), header.into());
            }
        }
    }
}

/// What may be wrong with any request of its kind; a handler describes what is special to it.
fn add_problems(path: &str, operation: &mut Operation) {
    let takes = |name: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|known| matches!(known, RefOr::T(known) if known.name == name))
    };
    let mut expected = vec![
        ("500", "It failed on our side"),
        ("503", "Not now; `Retry-After` says when to come back"),
    ];
    if operation.security.is_none() {
        expected.push(("401", "No token, or not one that holds"));
        expected.push(("403", "Not for this caller"));
    }
    if path.contains('{') {
        expected.push(("404", "There is no such thing, or not for this caller"));
    }
    if takes("Idempotency-Key") {
        expected.push(("409", "Not in the state it is in"));
    }
    if takes("If-Match") {
        expected.push(("412", "It is at another version than `If-Match` says"));
    }
    if operation.request_body.is_some() {
        expected.push(("400", "The body is not JSON"));
        expected.push(("413", "The body is too large"));
        expected.push(("415", "The body does not say it is JSON"));
        expected.push(("422", "The body is not what is asked for"));
    }
    if operation.parameters.is_some() {
        expected.push(("422", "A parameter is wrong"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in expected {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| ResponseBuilder::new().description(description).build().into());
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
        "503" => "Retry-After",
        _ => return,
    };
    response.headers.insert(header.into(), Header::default().into());
}
