//! What the web console needs besides the API of the contexts: its stream of vitals and events, and the
//! lag of the last hour.

mod tail;
mod stream;
mod history;

pub(super) use tail::TailSample;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(stream::listen)).routes(routes!(history::show))
}
