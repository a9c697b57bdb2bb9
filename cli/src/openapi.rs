//! `tributary openapi`: the `OpenAPI` document of the HTTP API, printed without a server.

use super::outcome::Failure;
use super::output;

pub(super) fn run() -> Result<(), Failure> {
    output::json(&gateway::http::document())
}
