//! The event store on real servers: the contract of append, and the bus.

mod servers;
mod world;

mod append;
mod crash;
mod relay;
mod feed;
