//! Where a mapping finds a part of a reading: in the payload, in levels of the topic, or in the mapping
//! itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use domain::FieldPath;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Where a mapping finds a part of a reading.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Source {
    /// A value of the payload: a dotted path or a JSON pointer.
    Payload(FieldPath),
    /// Text with levels of the topic in it: `{2}`, `{1}-{3}`.
    Topic(Template),
    /// The same for all messages.
    Constant(Box<str>),
}

/// A source as it is written.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a path into the payload, levels of the topic (`{2}`), or `{\"constant\": \"…\"}`"
)]
enum Written {
    Text(String),
    Constant(Constant),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Constant {
    constant: String,
}

impl TryFrom<Written> for Source {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Constant(Constant { constant }) => Ok(Self::Constant(constant.into())),
            Written::Text(text) if text.contains('{') => Template::parse(&text).map(Self::Topic),
            Written::Text(text) => {
                FieldPath::parse(&text).map(Self::Payload).map_err(|error| error.to_string())
            }
        }
    }
}

impl Source {
    /// Finds the text of the part: a text of the payload without its quotes, a number as it is written.
    /// `None` if the payload has no text, number or boolean there.
    pub(super) fn find<'m>(&'m self, topic: &str, payload: &'m RawValue) -> Option<Cow<'m, str>> {
        match self {
            Self::Payload(key) => scalar(at(payload, key)?),
            Self::Topic(template) => Some(template.fill(topic, str::to_owned).into()),
            Self::Constant(text) => Some(Cow::Borrowed(text)),
        }
    }
}

/// Text in which `{2}` stands for the second level of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Template(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// A level of the topic, from 1.
    Level(usize),
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (level, after) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without `}}`"))?;
            let level = level.parse().ok().filter(|level| (1..=Self::MAX_LEVEL).contains(level));
            let level = level.ok_or_else(|| {
                format!("`{text}`: braces hold the number of a level, 1 to {}", Self::MAX_LEVEL)
            })?;
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.into())));
            pieces.push(Piece::Level(level));
            rest = after;
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.into())));
        Ok(Self(pieces.into()))
    }

    /// Highest number of a level.
    const MAX_LEVEL: usize = 32;

    /// Puts the levels of `topic` into the text, each as `written`; a level that it does not have is
    /// empty.
    pub(super) fn fill(&self, topic: &str, written: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Level(level) => {
                topic.split('/').nth(level - 1).map(&written).unwrap_or_default()
            }
        };
        self.0.iter().map(piece).collect()
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

/// The value at `key` in `payload`. As in alert rules, a member whose own name contains the dots takes
/// precedence over a path.
pub(super) fn at<'p>(payload: &'p RawValue, key: &FieldPath) -> Option<&'p RawValue> {
    if key.steps().len() > 1
        && let Some(whole) = step(payload, key.as_str())
    {
        return Some(whole);
    }
    let mut found = payload;
    for name in key.steps() {
        found = step(found, name)?;
    }
    Some(found)
}

/// A member of an object by its name, or an item of an array by its index.
fn step<'p>(value: &'p RawValue, name: &str) -> Option<&'p RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => {
            let members: HashMap<Cow<'p, str>, &'p RawValue> =
                serde_json::from_str(value.get()).ok()?;
            members.get(name).copied()
        }
        b'[' => {
            let items: Vec<&'p RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(name.parse::<usize>().ok()?).copied()
        }
        _ => None,
    }
}

/// The text of a text, a number or a boolean.
pub(super) fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
        _ => Some(Cow::Borrowed(value.get())),
    }
}

/// Writes `name` as the id of a device: a byte that an id must not have, and `@`, is `@` and two
/// hexadecimal digits, so that two names never become one id.
pub(super) fn device_id(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut id, byte| {
        if byte.is_ascii_alphanumeric() || b"._:-".contains(&byte) {
            id.push(char::from(byte));
        } else {
            write!(id, "@{byte:02X}").expect("writing to a string does not fail");
        }
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, topic: &str, payload: &str) -> Option<String> {
        let source: Source = serde_json::from_str(source).unwrap();
        let payload: &RawValue = serde_json::from_str(payload).unwrap();
        source.find(topic, payload).map(Cow::into_owned)
    }

    #[test]
    fn a_part_comes_from_the_payload_the_topic_or_the_mapping() {
        let payload = r#"{"a": {"b": [1, {"c": 4.20}]}, "a.b": "own", "t": "\u00e9", "n": null}"#;
        for (source, expected) in [
            (r#""a.b.1.c""#, Some("4.20")),
            (r#""/a/b/1/c""#, Some("4.20")),
            (r#""a.b""#, Some("own")),
            (r#""t""#, Some("é")),
            (r#""a""#, None),
            (r#""n""#, None),
            (r#""a.x""#, None),
            (r#""{2}""#, Some("two")),
            (r#""{1}-{3}.x""#, Some("one-three.x")),
            (r#""{9}""#, Some("")),
            (r#"{"constant": "home"}"#, Some("home")),
        ] {
            assert_eq!(found(source, "one/two/three", payload).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn a_source_that_says_nothing_is_refused() {
        for source in [r#""{0}""#, r#""{x}""#, r#""{1""#, r#""""#, "7", r#"{"const": "x"}"#] {
            assert!(serde_json::from_str::<Source>(source).is_err(), "{source}");
        }
    }

    #[test]
    fn two_names_never_become_one_device() {
        assert_eq!(device_id("Living room/lamp"), "Living@20room@2Flamp");
        assert_eq!(device_id("AA:BB-1_c.d"), "AA:BB-1_c.d");
        assert_ne!(device_id("a@20b"), device_id("a b"));
    }
}
