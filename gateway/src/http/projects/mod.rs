//! Projects and their tasks over HTTP.

mod project;
mod task;
mod viewer;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(project::create, project::list))
        .routes(routes!(project::get, project::change, project::archive))
        .routes(routes!(project::add_member, project::remove_member))
        .routes(routes!(task::create, task::list))
        .routes(routes!(task::get, task::change, task::delete))
}
