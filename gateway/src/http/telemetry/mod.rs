//! Telemetry over HTTP: readings in, devices and their readings out, and presence settings.

mod device;
mod ingest;
mod presence;
mod readings;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(ingest::record))
        .routes(routes!(device::devices))
        .routes(routes!(device::device))
        .routes(routes!(readings::list))
        .routes(routes!(presence::configure, presence::get))
}
