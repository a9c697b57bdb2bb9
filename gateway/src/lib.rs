//! Every way in: HTTP, MQTT and NATS; the roles that a process runs; the configuration. Converts
//! requests into domain types and errors into responses; business rules are in `domain`.

pub mod config;
pub mod tokens;
pub mod one_time_codes;
pub mod metrics;
pub mod host_metrics;
mod lag_metrics;
pub mod backpressure;
mod certificates;
mod process_metrics;
pub mod vitals;
pub mod verification;
pub mod work_code;
pub mod bridge;
pub mod nats;
#[expect(unused_qualifications, reason = "written by the macros of utoipa")]
pub mod http;
pub mod parts;
pub mod roles;
pub mod app;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod pinned;

/// Returns the name of every consumer of the log: projections, process managers and publishers.
pub fn consumer_names() -> Vec<&'static str> {
    let others = [bridge::ALERTS_OUT, eventstore::Relay::NAME];
    let others = commands::PROCESS_MANAGERS.into_iter().chain(others);
    projections::names().into_iter().chain(others).collect()
}
