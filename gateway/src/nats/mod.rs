//! Commands received over NATS.

pub mod intake;
#[cfg(test)]
mod fuzz;
