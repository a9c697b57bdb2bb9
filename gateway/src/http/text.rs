//! Text of bounded length. It is checked while the body is parsed, so that a fault has a JSON
//! pointer.

use serde::{Deserialize, Deserializer};

/// 1 to `MAX` characters without NUL, which Postgres cannot store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<const MAX: usize>(pub(super) String);

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = (1..=MAX).contains(&text.chars().count()) && !text.contains('\0');
        if fits {
            Ok(Self(text))
        } else {
            let detail = format_args!("must be 1 to {MAX} characters without NUL");
            Err(serde::de::Error::custom(detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_characters_not_bytes() {
        let read = |text: &str| serde_json::from_value::<Text<3>>(text.into());
        assert_eq!(read("äöü").unwrap(), Text("äöü".into()));
        assert!(read("").is_err() && read("abcd").is_err() && read("a\0").is_err());
    }
}
