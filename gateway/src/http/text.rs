//! Texts in bodies: of bounded length, and optional. They are checked while the body is parsed, so that a
//! fault has a JSON pointer.

use std::fmt;

use domain::projects::Change;
use serde::{Deserialize, Deserializer, de};

/// Deserializes an optional text. An empty one means none, as scripts and forms send it. The member must
/// have `default` for an absent one.
pub(super) fn optional<'de, D: Deserializer<'de>, T: TryFrom<String, Error: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(T::try_from).transpose().map_err(de::Error::custom)
}

/// Deserializes the change of an optional text, of which `null` and an empty one clear it. The member must
/// have `default` for an absent one.
pub(super) fn change<'de, D: Deserializer<'de>, T: TryFrom<String, Error: fmt::Display>>(
    deserializer: D,
) -> Result<Change<T>, D::Error> {
    optional(deserializer).map(Change::To)
}

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
    fn an_empty_optional_text_is_none() {
        #[derive(Debug, Deserialize)]
        struct Sent {
            #[serde(default, deserialize_with = "optional")]
            text: Option<String>,
            #[serde(default, deserialize_with = "change")]
            changed: Change<String>,
        }
        let read =
            |body: &str| serde_json::from_str::<Sent>(body).map(|sent| (sent.text, sent.changed));
        let some = || "a".to_owned();
        for (body, text, changed) in [
            ("{}", None, Change::Same),
            (r#"{"text": null, "changed": null}"#, None, Change::To(None)),
            (r#"{"text": "", "changed": ""}"#, None, Change::To(None)),
            (r#"{"text": "a", "changed": "a"}"#, Some(some()), Change::To(Some(some()))),
        ] {
            assert_eq!(read(body).unwrap(), (text, changed), "{body}");
        }
        assert!(read(r#"{"text": 7}"#).is_err());
    }

    #[test]
    fn the_limit_counts_characters_not_bytes() {
        let read = |text: &str| serde_json::from_value::<Text<3>>(text.into());
        assert_eq!(read("äöü").unwrap(), Text("äöü".into()));
        assert!(read("").is_err() && read("abcd").is_err() && read("a\0").is_err());
    }
}
