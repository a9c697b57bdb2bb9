//! The one rule for names of devices, users, hosts, schemas, products, projects and tasks: people can
//! see a name, and a URL can reach it. Each kind of name has limits of its own on top.
//!
//! The rule holds where a name comes in. A name that is stored is not refused.

use serde::Deserialize;
use unicode_width::UnicodeWidthChar;

/// Characters that have a width and show nothing: fillers of Hangul, and the empty Braille pattern.
const BLANK: [char; 4] = ['\u{115f}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// Checks the rule for all names.
///
/// # Errors
/// Returns an error if the text is `.` or `..`, contains a control character or a line separator, or
/// has no visible character.
pub fn check(text: &str) -> Result<(), InvalidName> {
    let breaks =
        |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    let visible = |character: char| {
        let width = character.width().unwrap_or_default();
        width > 0 && !character.is_whitespace() && !BLANK.contains(&character)
    };
    if text == "." || text == ".." {
        Err(InvalidName::Dots)
    } else if text.chars().any(breaks) {
        Err(InvalidName::Control)
    } else if text.chars().any(visible) {
        Ok(())
    } else {
        Err(InvalidName::Invisible)
    }
}

/// A name of 1 to `MAX` characters. Events store a plain string, so names recorded under earlier
/// rules can be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name<const MAX: usize>(String);

impl<const MAX: usize> Name<MAX> {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Name<MAX> {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let length = text.chars().count();
        if !(1..=MAX).contains(&length) {
            return Err(InvalidName::Length { most: MAX, length });
        }
        check(&text)?;
        Ok(Self(text))
    }
}

impl<const MAX: usize> From<Name<MAX>> for String {
    fn from(Name(text): Name<MAX>) -> Self {
        text
    }
}

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty or too long.
    #[error("must have 1 to {most} characters, and has {length}")]
    Length {
        /// Maximum number of characters.
        most: usize,
        /// Number of characters of the text.
        length: usize,
    },
    /// The text is `.` or `..`, which a URL drops from its path.
    #[error("must not be `.` or `..`, which no URL can reach")]
    Dots,
    /// The text contains a control character, such as NUL, or a line separator.
    #[error("must not contain control characters, such as NUL or a line break")]
    Control,
    /// The text consists of white space and characters without width.
    #[error("must have a visible character")]
    Invisible,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::SchemaName;
    use crate::host::HostName;
    use crate::orders::Sku;
    use crate::telemetry::{DeviceId, UserId};
    use crate::users::FullName;

    #[test]
    fn a_name_can_be_seen_and_reached() {
        for text in [
            "a",
            "...",
            ".hidden",
            "Ada Lovelace",
            "a/b",
            "名前",
            "عَلِي",
            "👩\u{200d}🚀",
            "e\u{301}",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for (text, error) in [
            ("", InvalidName::Invisible),
            (".", InvalidName::Dots),
            ("..", InvalidName::Dots),
            (" \u{a0}\u{3000}", InvalidName::Invisible),
            ("\u{200b}\u{200d}\u{feff}\u{2060}", InvalidName::Invisible),
            ("\u{301}", InvalidName::Invisible),
            ("\u{2800}\u{3164}\u{115f}\u{ffa0}", InvalidName::Invisible),
            ("\u{202e}\u{2066}\u{e0020}", InvalidName::Invisible),
            ("a\0", InvalidName::Control),
            ("a\nb", InvalidName::Control),
            ("a\u{1b}[2J", InvalidName::Control),
            ("a\u{85}b", InvalidName::Control),
            ("a\u{2028}b", InvalidName::Control),
        ] {
            assert_eq!(check(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn every_kind_of_name_follows_the_rule_and_stored_names_stay_readable() {
        for text in [".", "..", "", " ", "a\0b", "\u{200b}"] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
            assert!(DeviceId::parse(text).is_err(), "{text:?}");
            assert!(SchemaName::parse(text).is_err(), "{text:?}");
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
            assert!(text.parse::<Sku>().is_err(), "{text:?}");
            assert!(text.parse::<FullName>().is_err(), "{text:?}");
            assert!(crate::projects::Name::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for stored in ["\".\"", "\"..\""] {
            assert!(serde_json::from_str::<UserId>(stored).is_ok());
            assert!(serde_json::from_str::<DeviceId>(stored).is_ok());
            assert!(serde_json::from_str::<SchemaName>(stored).is_ok());
            assert!(serde_json::from_str::<HostName>(stored).is_ok());
            assert!(serde_json::from_str::<Sku>(stored).is_ok());
            assert!(serde_json::from_str::<FullName>(stored).is_ok());
        }
    }
}
