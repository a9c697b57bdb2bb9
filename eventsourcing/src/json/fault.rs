//! Faults of JSON text, each with its place.

use std::fmt;

use super::number::InvalidNumber;

/// What is wrong with a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Objects and arrays are nested deeper than this.
    #[error("must not be nested deeper than {0} levels")]
    Depth(usize),
    /// A member name has more bytes than this.
    #[error("a field name is longer than {0} bytes")]
    Name(usize),
    /// An object has two members of this name.
    #[error("duplicate member")]
    Duplicate,
    /// A text has half of a surrogate pair, which no character has.
    #[error("a text has a lone surrogate")]
    Surrogate,
    /// A text has a NUL character.
    #[error("must not contain \\u0000")]
    Nul,
    /// The number is not accepted.
    #[error(transparent)]
    Number(#[from] InvalidNumber),
    /// The value is not of the type that is expected there.
    #[error("{0}")]
    Type(String),
}

/// Bytes of a pointer that a message shows: a name of any length can be at fault.
const SHOWN_BYTES: usize = 200;

/// A fault of a JSON value, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the value at fault; empty for the whole.
    pub pointer: String,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.pointer.floor_char_boundary(SHOWN_BYTES);
        match self.pointer.split_at(shown) {
            ("", _) => {}
            (pointer, "") => write!(f, "`{pointer}`: ")?,
            (start, _) => write!(f, "`{start}…`: ")?,
        }
        self.reason.fmt(f)
    }
}

impl std::error::Error for Fault {}
