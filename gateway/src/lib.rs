//! Every way in: HTTP, MQTT, the command line; the roles a process can play; the configuration.
//! Requests become domain types here, errors become answers here, and nothing is decided here.

pub mod config;
pub mod cli;
pub mod app;
pub mod roles;
pub mod tokens;
pub mod figures;
mod lag_figures;
mod codes;
pub mod host_metrics;
pub mod agent;
#[expect(unused_qualifications, reason = "written by the macros of utoipa")]
pub mod http;
pub mod mqtt;
pub mod servers;
#[cfg(test)]
mod pinned;

/// Name of everything that follows the log: projections, process managers, and what publishes.
fn readers() -> Vec<&'static str> {
    let others = commands::PROCESS_MANAGERS.into_iter().chain([mqtt::ALERTS_OUT, roles::RELAY]);
    projections::names().into_iter().chain(others).collect()
}
