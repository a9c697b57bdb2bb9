//! Rejections: why a command is refused, with the kind and the code that the API answers with.

/// The kind of a rejection. The gateway maps each kind to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command is invalid in every state.
    Invalid,
    /// The target does not exist, or is not visible to the caller.
    NotFound,
    /// The caller is not allowed to execute the command.
    Forbidden,
    /// The current state does not allow the command.
    Conflict,
}

/// A rejection of a command: an error with a kind and a stable code.
pub trait Reject: std::error::Error + Send + Sync + 'static {
    /// Returns the kind, which determines the HTTP status.
    fn kind(&self) -> Kind;
    /// Returns the stable `snake_case` code that clients match on.
    fn code(&self) -> &'static str;
    /// Returns the JSON pointer to the invalid member of the request body; `None` if no single member
    /// is the cause.
    fn pointer(&self) -> Option<String> {
        None
    }
}
