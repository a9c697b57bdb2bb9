//! Why a bridge does not run.

use mqtt::OptionsError;

/// Why a bridge does not start, or ended. Every other failure is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection's options are invalid.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is nothing to subscribe to.
    #[error("the bridge has no topic filter")]
    NoTopicFilter,
    /// A defect of ours.
    #[error("the task that appends messages panicked")]
    Panicked(#[source] tokio::task::JoinError),
}
