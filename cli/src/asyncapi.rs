//! `tributary asyncapi`: the document about messages on NATS and MQTT, without a server.

use super::outcome::Failure;
use super::output;

pub(super) fn run() -> Result<(), Failure> {
    output::json(&gateway::http::asyncapi::document())
}
