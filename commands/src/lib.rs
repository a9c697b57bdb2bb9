//! The write side: load, fold, decide, append. It knows nothing of read models.

mod handler;
pub mod works;

pub use handler::{Done, Envelope, Error, Handler};
