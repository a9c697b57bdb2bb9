//! Paths to the fields of a reading: the one syntax of rules, queries, tables and topic mappings.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A path to a field of a JSON object: a name, a dotted path (`engine.pressure`) or a JSON pointer
/// (`/engine/pressure`). Items of arrays are named by their index, from 0. A field whose own name
/// contains the dots takes precedence over a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath {
    text: Box<str>,
    steps: Box<[Box<str>]>,
}

impl FieldPath {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 200;
    /// Maximum number of steps.
    pub const MAX_STEPS: usize = 8;

    /// Parses a path.
    ///
    /// # Errors
    /// Returns an error if the text is too long, has too many steps or an empty one, or contains a NUL
    /// character.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let steps: Box<[Box<str>]> = match text.strip_prefix('/') {
            // RFC 6901: `~1` is a slash, `~0` a tilde.
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~").into())
                .collect(),
            None => text.split('.').map(Box::from).collect(),
        };
        let fits = text.len() <= Self::MAX_BYTES
            && steps.len() <= Self::MAX_STEPS
            && steps.iter().all(|step| !step.is_empty())
            && !text.contains('\0');
        if fits { Ok(Self { text: text.into(), steps }) } else { Err(InvalidPath) }
    }

    /// Returns the path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the name of the field if the path has one step.
    pub fn name(&self) -> Option<&str> {
        let mut steps = self.steps();
        steps.next().filter(|_| steps.len() == 0)
    }

    /// Returns the steps of the path, outermost first; never empty.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &str> {
        self.steps.iter().map(|step| &**step)
    }

    /// Returns the name of the field, as [`each_field`] gives it: the dotted path, or the JSON pointer if
    /// a step contains a dot.
    pub fn field_name(&self) -> String {
        let steps: Vec<&str> = self.steps().collect();
        match steps[..] {
            [name] => name.to_owned(),
            _ => dotted(&steps).unwrap_or_else(|| pointer(&steps)),
        }
    }

    /// Returns the path up to the first step that is the index of an item; `None` if no step is.
    pub fn array(&self) -> Option<Self> {
        let is_index = |step: &&str| step.bytes().all(|byte| byte.is_ascii_digit());
        let steps: Vec<&str> = self.steps().take_while(|step| !is_index(step)).collect();
        let is_array = !steps.is_empty() && steps.len() < self.steps.len();
        is_array.then(|| Self::parse(&pointer(&steps)).ok()).flatten()
    }

    /// Returns the value at the path in `object`; `None` if there is none.
    pub fn find<'v>(&self, object: &'v Map<String, Value>) -> Option<&'v Value> {
        if self.steps.len() > 1
            && let Some(value) = object.get(self.as_str())
        {
            return Some(value);
        }
        let (first, rest) = self.steps.split_first()?;
        rest.iter().try_fold(object.get(&**first)?, |value, step| match value {
            Value::Object(fields) => fields.get(&**step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

/// Longest array whose items [`each_field`] visits: longer ones are series of values, not fields.
const MAX_ITEMS: usize = 16;

/// A field of an object, at any depth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'v> {
    /// The value.
    pub value: &'v Value,
    /// Whether the field is, or is in, an item of an array.
    pub in_array: bool,
}

/// Calls `visit` with the name of every field of `object` and the field: first an object or array, then
/// what is in it. Nested fields are named by their path. Omits those that no [`FieldPath`] reaches, and
/// the items of arrays of more than 16.
pub fn each_field(object: &Map<String, Value>, visit: &mut dyn FnMut(&str, Field<'_>)) {
    for (name, value) in object {
        visit(name, Field { value, in_array: false });
        Nested { root: object, steps: vec![name.into()] }.visit(value, false, visit);
    }
}

/// A place in an object.
struct Nested<'v> {
    root: &'v Map<String, Value>,
    steps: Vec<Cow<'v, str>>,
}

impl<'v> Nested<'v> {
    fn visit(&mut self, value: &'v Value, in_array: bool, visit: &mut dyn FnMut(&str, Field<'_>)) {
        if self.steps.len() == FieldPath::MAX_STEPS {
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.step(name.into(), value, in_array, visit);
                }
            }
            Value::Array(items) if items.len() <= MAX_ITEMS => {
                for (index, value) in items.iter().enumerate() {
                    self.step(index.to_string().into(), value, true, visit);
                }
            }
            Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => {}
        }
    }

    fn step(
        &mut self,
        step: Cow<'v, str>,
        value: &'v Value,
        in_array: bool,
        visit: &mut dyn FnMut(&str, Field<'_>),
    ) {
        self.steps.push(step);
        let own_name = |name: &String| !self.root.contains_key(name);
        let name = dotted(&self.steps).filter(own_name).unwrap_or_else(|| pointer(&self.steps));
        let is_path =
            name.len() <= FieldPath::MAX_BYTES && self.steps.iter().all(|s| !s.is_empty());
        if is_path {
            visit(&name, Field { value, in_array });
            self.visit(value, in_array, visit);
        }
        self.steps.pop();
    }
}

/// The dotted path of `steps`; `None` if it would be another path.
fn dotted<S: AsRef<str>>(steps: &[S]) -> Option<String> {
    let is_plain = |step: &S| !step.as_ref().is_empty() && !step.as_ref().contains('.');
    let is_pointer = steps.first().is_some_and(|step| step.as_ref().starts_with('/'));
    let is_dotted = steps.iter().all(is_plain) && !is_pointer;
    is_dotted.then(|| steps.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("."))
}

/// The JSON pointer (RFC 6901) of `steps`.
fn pointer<S: AsRef<str>>(steps: &[S]) -> String {
    let escaped = |step: &S| format!("/{}", step.as_ref().replace('~', "~0").replace('/', "~1"));
    steps.iter().map(escaped).collect()
}

impl FieldPath {
    /// Returns the value at the path in an object, both as JSON texts; `None` if there is none. A number
    /// has the digits that it was written with.
    pub fn find_text<'t>(&self, object: &'t str) -> Option<&'t str> {
        if self.steps.len() > 1
            && let Some(value) = member(object, self.as_str())
        {
            return Some(value);
        }
        self.steps().try_fold(object, member)
    }
}

/// The member or item of a JSON text.
fn member<'t>(text: &'t str, step: &str) -> Option<&'t str> {
    if text.starts_with('[') {
        let items: Vec<&'t RawValue> = serde_json::from_str(text).ok()?;
        return items.get(step.parse::<usize>().ok()?).map(|value| value.get());
    }
    let members: HashMap<Cow<'t, str>, &'t RawValue> = serde_json::from_str(text).ok()?;
    members.get(step).map(|value| value.get())
}

impl TryFrom<String> for FieldPath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse(&text)
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.text.into()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// The text is not a path to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a field is named by its name, a dotted path or a JSON pointer: at most {} bytes and {} steps, none \
     empty",
    FieldPath::MAX_BYTES,
    FieldPath::MAX_STEPS
)]
pub struct InvalidPath;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotted_path_and_a_pointer_find_the_same_value() {
        let Value::Object(object) = serde_json::json!({
            "power": {"volts": 230.1, "a.b": 1}, "load": [1, 2], "x.y": 3, "x": {"y": 4}, "s/t": 5,
        }) else {
            panic!("an object")
        };
        let text = serde_json::to_string(&object).unwrap();
        for (path, value) in [
            ("power.volts", Some(230.1)),
            ("/power/volts", Some(230.1)),
            ("/power/a.b", Some(1.0)),
            ("load.1", Some(2.0)),
            ("/load/1", Some(2.0)),
            ("load.2", None),
            ("load.x", None),
            ("x.y", Some(3.0)),
            ("/x/y", Some(4.0)),
            ("/s~1t", Some(5.0)),
            ("power.volts.deeper", None),
            ("none", None),
        ] {
            let path = FieldPath::parse(path).unwrap();
            let found = path.find(&object).and_then(Value::as_f64);
            assert_eq!(found, value, "{path}");
            let found = path.find_text(&text).and_then(|text| text.parse().ok());
            assert_eq!(found, value, "{path}");
        }
        let mut names = Vec::new();
        each_field(&object, &mut |name, Field { value, in_array }| {
            let path = FieldPath::parse(name).unwrap();
            assert_eq!(path.find(&object), Some(value), "{name}");
            assert_eq!(path.field_name() == name, name != "/x/y", "{name}");
            assert_eq!(in_array, name.starts_with("load."), "{name}");
            names.push(name.to_owned());
        });
        names.sort_unstable();
        let expected = "/power/a.b /x/y load load.0 load.1 power power.volts s/t x x.y".split(' ');
        assert_eq!(names, expected.collect::<Vec<_>>());
        let deep = ["a"; FieldPath::MAX_STEPS + 1].join(".");
        for path in ["", "/", "a..b", "a.", "/a//b", "a\0", &deep, &"a".repeat(201)] {
            assert_eq!(FieldPath::parse(path), Err(InvalidPath), "{path:?}");
        }
    }
}
