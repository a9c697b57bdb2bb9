//! The bridge against the real Mosquitto and the real Postgres.

mod proxy;
mod servers;
mod system;

mod acknowledging;
mod connecting;
mod recording;
mod stopping;
