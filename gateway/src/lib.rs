//! Every way in: HTTP, MQTT and the command line. The only crate that sees all the others.

pub mod mqtt;
