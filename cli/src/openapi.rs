//! `tributary openapi`: the document about the API, without a server.

use super::outcome::Failure;
use super::output;

pub(super) fn run() -> Result<(), Failure> {
    output::json(&gateway::http::document())
}
