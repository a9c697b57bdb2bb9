//! The id of a stream.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a stream: `category-key`. The category holds no `-`; the key may.
///
/// The limits of [`Self::parse`] hold where a stream id comes in, from a request or in an append. A
/// stored id is decoded whatever it holds, so that one stream cannot stop the readers of all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct StreamId(Box<str>);

impl StreamId {
    /// Maximum length of a stream id in bytes. It is part of two indexes of the log.
    pub const MAX_BYTES: usize = 256;

    /// Builds the id of the stream of `key` in `category`, which holds no `-`. An append refuses an id
    /// that [`Self::parse`] refuses.
    pub fn new(category: &'static str, key: impl fmt::Display) -> Self {
        Self(format!("{category}-{key}").into())
    }

    /// Parses a stream id, such as one from a request.
    ///
    /// # Errors
    /// Returns an error if the category or the key is empty, or the text is longer than
    /// [`Self::MAX_BYTES`] or contains a NUL character.
    pub fn parse(text: &str) -> Result<Self, InvalidStreamId> {
        let well_formed = text
            .split_once('-')
            .is_some_and(|(category, key)| !category.is_empty() && !key.is_empty());
        if well_formed && text.len() <= Self::MAX_BYTES && !text.contains('\0') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidStreamId)
        }
    }

    /// Wraps an id that was stored. Never fails: see [`Self`].
    pub fn stored(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the whole id, `category-key`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the first `-`.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// Returns the part after the first `-`.
    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<String> for StreamId {
    fn from(text: String) -> Self {
        Self::stored(text)
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.0.into()
    }
}

/// The text is not a stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream id is `category-key`, at most {} bytes, without NUL", StreamId::MAX_BYTES)]
pub struct InvalidStreamId;

#[cfg(test)]
mod tests {
    use super::StreamId;

    #[test]
    fn a_stored_stream_id_is_decoded_whatever_it_holds() {
        for text in ["no hyphen", "", &format!("a-{}", "x".repeat(StreamId::MAX_BYTES))] {
            assert!(StreamId::parse(text).is_err(), "{text}");
            assert_eq!(StreamId::stored(text).as_str(), text);
            let decoded: StreamId = serde_json::from_value(text.into()).unwrap();
            assert_eq!(decoded, StreamId::stored(text));
        }
    }
}
