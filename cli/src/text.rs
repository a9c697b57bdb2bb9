//! Text that a terminal shows and does not obey. Titles, names and messages are chosen by others: an
//! escape sequence in them could clear the screen, forge a line or change the clipboard.
//!
//! Characters that a terminal interprets are replaced by their escape in Rust (`\u{1b}`, `\n`), and in
//! JSON by their escape in JSON (`\u009b`), which leaves the value as it is: control characters (C0,
//! DEL, C1), line and paragraph separators, and those that change the direction of text. Widths are
//! columns of a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a terminal interprets `character` rather than showing it.
fn is_interpreted(character: char) -> bool {
    let of_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || of_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Returns `text` on one line, with escapes in place of what a terminal interprets.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_interpreted) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_interpreted(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

/// Returns the JSON `json` with escapes in place of what a terminal interprets; its value and its
/// line breaks, which are outside of strings, stay.
pub(super) fn printable_json(json: &str) -> Cow<'_, str> {
    let interpreted =
        |character: char| !character.is_ascii_whitespace() && is_interpreted(character);
    if !json.contains(interpreted) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if interpreted(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes any text");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

/// Returns the columns that printable `text` takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Returns printable `text` with spaces up to `columns` columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Returns printable `text`, cut to at most `columns` columns; `…` marks the cut.
pub(super) fn shortened(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return text.into();
    }
    let mut used = 1;
    let fits = |character: &char| {
        used += character.width().unwrap_or_default();
        used <= columns
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_interprets_is_escaped() {
        for (text, shown) in [
            ("plain ä 漢 👩‍👩‍👧", "plain ä 漢 👩‍👩‍👧"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u{1b}[2J\\u{1b}]0;x\\u{7}"),
            ("a\r\nerror: b\tc", "a\\r\\nerror: b\\tc"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}evil\u{2069}\u{200f}", "\\u{202e}evil\\u{2069}\\u{200f}"),
            ("a\u{2028}b\u{85}", "a\\u{2028}b\\u{85}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown, "what is escaped stays");
        }
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({"a\u{202e}": ["\u{9b}31m", "\u{1b}\n", "漢\u{7f}\u{2028}"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = printable_json(&text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        assert!(!escaped.lines().any(|line| line.contains(is_interpreted)), "{escaped}");
        assert!(escaped.contains("\\u202e") && escaped.contains("\\u009b"), "{escaped}");
    }

    #[test]
    fn widths_are_columns() {
        assert_eq!(["ab", "漢字", "e\u{301}", "👩‍👩‍👧"].map(width), [2, 4, 1, 2]);
        assert_eq!(padded("漢字", 6), "漢字  ");
        assert_eq!(shortened("漢字漢字", 8), "漢字漢字");
        assert_eq!(shortened("漢字漢字", 7), "漢字漢…");
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
