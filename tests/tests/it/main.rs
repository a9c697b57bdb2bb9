//! Integration tests with a real Postgres, NATS and Mosquitto and the executable.

#![allow(clippy::format_collect, clippy::panic, reason = "these are tests")]

mod projects;
mod tasks;
mod telemetry;
mod alerts;
mod time_travel;
mod waiting;
mod restore;
mod schema;
mod runbooks;
mod mqtt_security;
mod mqtt_versions;
mod mqtt_bridges;
mod presence;
mod mqtt_page;
mod rebuild;
mod rebuild_readers;
mod page_views;
mod documents;
mod orders;
mod works;
mod host;
mod imports;
mod users;
mod tokens;
mod bus;
mod subscribers;
mod asyncapi;
mod http;
mod parking;
mod parked;
mod parked_orders;
mod retries;
mod tail;
mod traces;
mod replay;
mod verify;
mod faults;
mod load;
mod cli;
mod lag;
mod readme_commands;
mod authorization;
mod architecture;
mod pinned;
