//! NUL characters in requests: Postgres cannot store or compare them. A path, a query or a cursor with
//! one is refused here for all routes; bodies are checked where they are parsed.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Responds with 400 if the path or the query holds a NUL character.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    // In a URI a NUL character can only be an escape, and `%00` always is one.
    let holds = |text: &str| text.contains("%00");
    let uri = request.uri();
    if holds(uri.path()) {
        return problem("the path").into_response();
    }
    if uri.query().is_some_and(holds) {
        return problem("the query").into_response();
    }
    next.run(request).await
}

/// 400: `place` holds a NUL character.
pub(super) fn problem(place: &str) -> Problem {
    let detail = format!("{place} contains a NUL character, which no name and no text may hold");
    Problem::new(StatusCode::BAD_REQUEST, "nul_character", detail)
}
