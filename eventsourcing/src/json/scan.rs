//! Checks of JSON text beyond its syntax, with the place of the fault. RFC 8259 leaves to each parser
//! what it does with duplicate names, lone surrogates and large numbers, so parsers disagree on what
//! such a text means; every door of Tributary refuses it.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use super::fault::{Fault, Reason};
use super::number::{Numbers, whole};

/// Limits on a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Maximum nesting depth of objects and arrays.
    pub depth: usize,
    /// Maximum length of a member name in bytes.
    pub name_bytes: usize,
    /// Whether texts may hold NUL characters, which Postgres cannot store.
    pub nul: bool,
    /// Which numbers are accepted.
    pub numbers: Numbers,
}

impl Rules {
    /// The rules of the bodies of commands: those of every JSON text, and no limits.
    pub const COMMAND: Self =
        Self { depth: 127, name_bytes: usize::MAX, nul: true, numbers: Numbers::Finite };
}

/// Checks a JSON value.
///
/// # Errors
/// Returns the first fault.
pub fn check(json: &RawValue, rules: Rules) -> Result<(), Fault> {
    let mut scan = Scan::new(json, rules);
    scan.value().map(drop).map_err(|reason| scan.fault(reason))
}

/// Checks a JSON value, and writes whole numbers that have a fraction or an exponent as digits: `42.0`
/// as `42`. A type that needs a whole number then accepts it.
///
/// # Errors
/// Returns the first fault.
pub(super) fn with_whole_numbers(json: &RawValue, rules: Rules) -> Result<Cow<'_, str>, Fault> {
    let mut scan = Scan { whole: Some(Vec::new()), ..Scan::new(json, rules) };
    scan.value().map(drop).map_err(|reason| scan.fault(reason))?;
    let wholes = scan.whole.unwrap_or_default();
    if wholes.is_empty() {
        return Ok(json.get().into());
    }
    let (mut text, mut copied) = (String::with_capacity(json.get().len()), 0);
    for (start, end, digits) in wholes {
        text.push_str(&json.get()[copied..start]);
        text.push_str(&digits);
        copied = end;
    }
    text.push_str(&json.get()[copied..]);
    Ok(text.into())
}

/// A member name.
#[derive(Debug, Clone)]
pub struct Name<'t> {
    /// The name.
    pub text: Cow<'t, str>,
    /// The name as written, with its quotation marks.
    pub quoted: &'t str,
}

enum Step<'t> {
    Member(Cow<'t, str>),
    Item(usize),
}

/// Reads through a JSON value whose syntax was checked, and checks it by rules.
pub struct Scan<'t> {
    text: &'t str,
    at: usize,
    rules: Rules,
    level: usize,
    /// From the root to the value that is being read.
    path: Vec<Step<'t>>,
    /// Start, end and digits of the whole numbers that have a fraction or an exponent, if wanted.
    whole: Option<Vec<(usize, usize, String)>>,
}

impl<'t> Scan<'t> {
    /// Starts at the beginning of `json`.
    pub fn new(json: &'t RawValue, rules: Rules) -> Self {
        Self { text: json.get(), at: 0, rules, level: 0, path: Vec::new(), whole: None }
    }

    /// Returns `reason` as a fault of the value that is being read.
    pub fn fault(&self, reason: Reason) -> Fault {
        let mut pointer = String::new();
        for step in &self.path {
            pointer.push('/');
            match step {
                Step::Member(name) => pointer += &name.replace('~', "~0").replace('/', "~1"),
                Step::Item(index) => pointer += &index.to_string(),
            }
        }
        Fault { pointer, reason }
    }

    /// Reads and checks the value that comes next, and returns its text.
    ///
    /// # Errors
    /// Returns the first fault; [`Self::fault`] then has its place.
    pub fn value(&mut self) -> Result<&'t str, Reason> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            b'{' => self.object(|scan, name| {
                scan.check_name(name)?;
                scan.value().map(drop)
            })?,
            b'[' => self.array()?,
            b'"' => self.string().map(drop)?,
            b'f' => self.at += "false".len(),
            b'n' | b't' => self.at += "null".len(),
            _ => self.number()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads the value that comes next as [`Self::value`] does; if it is a number, any number.
    ///
    /// # Errors
    /// As for [`Self::value`].
    pub fn value_or_any_number(&mut self) -> Result<&'t str, Reason> {
        let usual = self.rules.numbers;
        self.skip_space();
        if self.peek() == b'-' || self.peek().is_ascii_digit() {
            self.rules.numbers = Numbers::Any;
        }
        let text = self.value();
        self.rules.numbers = usual;
        text
    }

    /// Checks the length of the name of a member. [`Self::object`] leaves that to its caller, who may know
    /// the name.
    ///
    /// # Errors
    /// Returns an error if the name is too long.
    pub fn check_name(&self, name: &Name<'_>) -> Result<(), Reason> {
        let limit = self.rules.name_bytes;
        if name.text.len() > limit { Err(Reason::Name(limit)) } else { Ok(()) }
    }

    /// Reads the object that comes next. `member` must read the value of each member.
    ///
    /// # Errors
    /// Returns an error if the value is not an object, has a fault, or `member` returns one.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &Name<'t>) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.skip_space();
        if self.peek() != b'{' {
            return Err(Reason::Type("must be a JSON object".to_owned()));
        }
        self.enter()?;
        let mut names: HashSet<Cow<'t, str>> = HashSet::new();
        loop {
            self.skip_space();
            match self.peek() {
                b'"' => {
                    let name = self.name()?;
                    self.path.push(Step::Member(name.text.clone()));
                    if !names.insert(name.text.clone()) {
                        return Err(Reason::Duplicate);
                    }
                    self.skip_space();
                    self.at += 1; // The colon.
                    self.skip_space();
                    member(self, &name)?;
                    self.path.pop();
                }
                b',' => self.at += 1,
                _ => break,
            }
        }
        self.leave();
        Ok(())
    }

    fn array(&mut self) -> Result<(), Reason> {
        self.enter()?;
        let mut index = 0;
        loop {
            self.skip_space();
            match self.peek() {
                b']' | 0 => break,
                b',' => self.at += 1,
                _ => {
                    self.path.push(Step::Item(index));
                    index += 1;
                    self.value()?;
                    self.path.pop();
                }
            }
        }
        self.leave();
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Reason> {
        if self.level >= self.rules.depth {
            return Err(Reason::Depth(self.rules.depth));
        }
        self.level += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.level -= 1;
        self.at += 1;
    }

    fn name(&mut self) -> Result<Name<'t>, Reason> {
        let (quoted, is_escaped) = self.string()?;
        let text = if is_escaped {
            let text: String = serde_json::from_str(quoted).map_err(|_lone| Reason::Surrogate)?;
            text.into()
        } else {
            quoted[1..quoted.len() - 1].into()
        };
        Ok(Name { text, quoted })
    }

    /// Reads a text, and returns it as written and whether it has escapes.
    fn string(&mut self) -> Result<(&'t str, bool), Reason> {
        let (text, start) = (self.text, self.at);
        let mut is_escaped = false;
        self.at += 1;
        loop {
            let rest = self.text[self.at..].bytes();
            self.at += rest.take_while(|byte| *byte != b'"' && *byte != b'\\').count();
            if self.peek() != b'\\' {
                break;
            }
            is_escaped = true;
            self.escape()?;
        }
        self.at += 1;
        Ok((&text[start..self.at], is_escaped))
    }

    fn escape(&mut self) -> Result<(), Reason> {
        let Some(unit) = self.unit(self.at) else {
            self.at += 2;
            return Ok(());
        };
        match unit {
            0 if !self.rules.nul => return Err(Reason::Nul),
            0xd800..=0xdbff => match self.unit(self.at + 6) {
                Some(0xdc00..=0xdfff) => self.at += 12,
                _ => return Err(Reason::Surrogate),
            },
            0xdc00..=0xdfff => return Err(Reason::Surrogate),
            _ => self.at += 6,
        }
        Ok(())
    }

    /// Returns the code unit of the escape `\uXXXX` at `at`; `None` if there is another one or none.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<(), Reason> {
        let start = self.at;
        let rest = self.text[start..].bytes();
        let length =
            rest.take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
        let text = &self.text[start..start + length];
        self.rules.numbers.check(text)?;
        self.at += length.max(1);
        if let Some(found) = &mut self.whole
            && let Some(digits) = whole(text)
        {
            found.push((start, start + length, digits));
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// The next byte; 0 at the end.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::InvalidNumber;
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_fault_has_a_place() {
        let rules = Rules { depth: 3, name_bytes: 8, nul: false, numbers: Numbers::Kept };
        for (text, pointer, reason) in [
            (r#"{"a": [1, {"b": 2, "b": 3}]}"#, "/a/1/b", Reason::Duplicate),
            (r#"{"a": 1, "\u0061": 2}"#, "/a", Reason::Duplicate),
            (r#"{"a/b": {"~": "\ud800"}}"#, "/a~1b/~0", Reason::Surrogate),
            (r#"["\udc00"]"#, "/0", Reason::Surrogate),
            (r#"["\ud800\u0041"]"#, "/0", Reason::Surrogate),
            (r#"{"\ud800": 1}"#, "", Reason::Surrogate),
            (r#"{"a": "x\u0000"}"#, "/a", Reason::Nul),
            (r"[[[[]]]]", "/0/0/0", Reason::Depth(3)),
            (r#"{"a": {"eeeeeeeee": 1}}"#, "/a/eeeeeeeee", Reason::Name(8)),
            (r#"{"a": [1e309]}"#, "/a/0", InvalidNumber::Range.into()),
        ] {
            let fault = check(raw(text), rules).unwrap_err();
            assert_eq!((fault.pointer.as_str(), fault.reason), (pointer, reason), "{text}");
        }
        for text in [
            r#" { "a" : [ 1 , -2.5e3 , true , false , null , "\\u0000\"" ] , "b" : { } } "#,
            r#"["\ud83e\udd80", "\u00e9", "🦀", [], {}, [ ]]"#,
            r#"[{"a": 1}, {"a": 1}]"#,
            "7",
        ] {
            assert_eq!(check(raw(text), rules), Ok(()), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_written_as_digits_outside_of_texts() {
        for (text, written) in [
            (
                r#"{"a": 42.0, "b": ["4.2e1", 4.2e1, 42.5], "c\"1.0": -1.0 }"#,
                r#"{"a": 42, "b": ["4.2e1", 42, 42.5], "c\"1.0": -1 }"#,
            ),
            (r#"{"a": 42}"#, r#"{"a": 42}"#),
        ] {
            assert_eq!(with_whole_numbers(raw(text), Rules::COMMAND).unwrap(), written);
        }
    }
}
