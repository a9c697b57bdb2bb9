//! Reads JSON texts of every door into types.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

use super::fault::{Fault, Reason};
use super::scan::{Rules, with_whole_numbers};

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not JSON.
    #[error("not JSON: {0}")]
    Syntax(serde_json::Error),
    /// The text is JSON with a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Reads a JSON object: the one way from bytes that others sent to a type. A byte-order mark is ignored.
/// Duplicate names, lone surrogates and numbers beyond doubles are refused. A whole number may have a
/// fraction of zeros or an exponent.
///
/// # Errors
/// Returns an error if the text is not JSON, has a fault, or does not fit the type.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    let json = parse(bytes)?;
    // serde would read an array into a struct, element by element.
    if !json.get().starts_with('{') {
        let reason = Reason::Type("must be an object".to_owned());
        return Err(Fault { pointer: String::new(), reason }.into());
    }
    let text = with_whole_numbers(json, Rules::COMMAND)?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = error.path().iter().map(step).collect();
        // The place is the pointer: whole numbers may have moved what follows them.
        let text = error.inner().to_string();
        let text = text.split(" at line ").next().unwrap_or_default().to_owned();
        ReadError::Fault(Fault { pointer, reason: Reason::Type(text) })
    })
}

/// Parses JSON, and ignores a byte-order mark.
///
/// # Errors
/// Returns an error if the text is not JSON.
pub fn parse(bytes: &[u8]) -> Result<&RawValue, ReadError> {
    serde_json::from_slice(without_mark(bytes)).map_err(ReadError::Syntax)
}

/// Returns a text without a byte-order mark at its beginning.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn step(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        quantity: u32,
    }

    #[test]
    fn a_whole_number_is_read_however_it_is_written() {
        for text in
            [r#"{"lines":[{"quantity":42}]}"#, "\u{feff}{\"lines\": [{\"quantity\": 4.2e1}]}"]
        {
            assert_eq!(
                read::<Order>(text.as_bytes()).unwrap(),
                Order { lines: vec![Line { quantity: 42 }] }
            );
        }
    }

    #[test]
    fn a_fault_has_a_pointer() {
        for (text, expected) in [
            (
                r#"{"lines":[{"quantity":42.5}]}"#,
                "`/lines/0/quantity`: invalid type: floating point `42.5`, expected u32",
            ),
            (r#"{"lines":[{"quantity":1,"quantity":1}]}"#, "`/lines/0/quantity`: duplicate member"),
            (
                r#"{"lines":[{"quantity":1,"note":"\ud800"}]}"#,
                "`/lines/0/note`: a text has a lone surrogate",
            ),
            ("[]", "must be an object"),
        ] {
            assert_eq!(read::<Order>(text.as_bytes()).unwrap_err().to_string(), expected);
        }
        assert!(matches!(read::<Order>(b"{"), Err(ReadError::Syntax(_))));
        assert!(matches!(read::<Order>(b"{} {}"), Err(ReadError::Syntax(_))));
    }
}
