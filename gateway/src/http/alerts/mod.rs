//! Alerts over HTTP: the alerts themselves, their explanation, the rules, and dry runs of rules.

mod alert;
mod config;
mod dry_run;
mod explanation;

use super::prelude::*;

pub(super) use config::SentConfig;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(alert::list))
        .routes(routes!(alert::get))
        .routes(routes!(alert::acknowledge))
        .routes(routes!(explanation::explanation))
        .routes(routes!(dry_run::dry_run))
        .routes(routes!(config::show, config::configure))
        .routes(routes!(config::show_all, config::configure_all))
}
