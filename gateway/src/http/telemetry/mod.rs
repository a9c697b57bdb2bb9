//! Telemetry over HTTP: readings in, devices and their readings out, and presence settings;
//! what was refused.

mod device;
mod ingest;
mod presence;
mod readings;
mod rejections;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(ingest::record))
        .routes(routes!(device::devices))
        .routes(routes!(device::device))
        .routes(routes!(readings::list))
        .routes(routes!(rejections::all))
        .routes(routes!(rejections::of_device))
        .routes(routes!(presence::configure, presence::get))
}
