//! Every way in: HTTP, MQTT, the command line; the roles a process can play; the configuration.
//! Requests become domain types here, errors become answers here, and nothing is decided here.

pub mod config;
pub mod tokens;
pub mod metrics;
pub mod host_metrics;
mod lag_metrics;
pub mod work_code;
pub mod bridge;
pub mod nats;
#[expect(unused_qualifications, reason = "written by the macros of utoipa")]
pub mod http;
pub mod parts;
pub mod roles;
pub mod app;
#[cfg(test)]
mod pinned;

/// Name of everything that follows the log: projections, process managers, and what publishes.
pub fn consumer_names() -> Vec<&'static str> {
    let others = commands::PROCESS_MANAGERS.into_iter().chain([bridge::ALERTS_OUT, roles::RELAY]);
    projections::names().into_iter().chain(others).collect()
}
