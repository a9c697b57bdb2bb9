//! The W3C trace context header `traceparent`.

use std::fmt;

/// A W3C `traceparent`: a span in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// Id of the trace; not 0 if it was parsed.
    pub trace_id: u128,
    /// Id of the span in the trace; not 0 if it was parsed.
    pub span_id: u64,
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl Traceparent {
    /// Parses a header; none if it is not valid. Fields that later versions of the standard append
    /// are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
        };
        let known =
            hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !known || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, sampled } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(*sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_written_as_it_was_parsed() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = Traceparent::parse(text).unwrap();
        assert_eq!((parsed.span_id, parsed.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parsed.to_string(), text);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
        assert_eq!(Traceparent::parse(later), Some(parsed));
    }

    #[test]
    fn an_invalid_traceparent_is_not_parsed() {
        for text in [
            "",
            "00",
            "nonsense",
            "00-x-y-z",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }
}
