//! Why a command is refused, in a form the edge can answer with.

/// The kinds of refusal; the gateway maps each to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command itself makes no sense.
    Invalid,
    /// What it speaks of does not exist, or not for this caller.
    NotFound,
    /// The caller may not do this.
    Forbidden,
    /// It would have been fine in another state.
    Conflict,
}

/// A business refusal: an error with a kind and a stable code.
pub trait Reject: std::error::Error + Send + Sync + 'static {
    fn kind(&self) -> Kind;
    /// Stable `snake_case` code that programs may rely on.
    fn code(&self) -> &'static str;
    /// JSON pointer to the member of the request that is at fault, where one is.
    fn pointer(&self) -> Option<String> {
        None
    }
}
