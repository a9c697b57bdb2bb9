//! `tributary asyncapi`: the `AsyncAPI` document of the messages on NATS and MQTT, printed without a
//! server.

use super::outcome::Failure;
use super::output;

pub(super) fn run() -> Result<(), Failure> {
    output::json(&gateway::http::asyncapi::document())
}
