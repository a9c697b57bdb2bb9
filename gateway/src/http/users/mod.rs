//! Users over HTTP: accounts, signing in, and sessions.

mod account;
mod cookie_session;
mod namespace;
mod sessions;
mod sign_in;

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(account::list))
        .routes(routes!(account::me))
        .routes(routes!(account::get))
        .routes(routes!(account::change_role))
        .routes(routes!(namespace::change))
        .routes(routes!(account::change_password))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(sign_in::log_out))
        .routes(routes!(sign_in::log_out_everywhere))
}

/// Routes without a token.
pub(super) fn open_routes() -> Routes {
    Routes::new()
        .routes(routes!(account::register))
        .routes(routes!(sign_in::log_in))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(sign_in::keys))
        .routes(routes!(cookie_session::begin, cookie_session::end))
        .routes(routes!(cookie_session::begin_by_code))
        .routes(routes!(cookie_session::refresh))
}
