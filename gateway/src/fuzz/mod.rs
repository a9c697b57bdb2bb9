//! Inputs for tests that try what senders may send: mutations of a corpus of valid and notorious
//! inputs. `PROPTEST_CASES` sets the number of inputs of each test, 256 without it.

mod corpus;

use proptest::prelude::*;
use proptest::sample::select;

pub(crate) use corpus::{
    CURSORS, DEMANDS, FILTERS, FOREIGN, FOREIGN_TOPICS, READINGS, RULES, SAMPLES, STATUSES, TOPICS,
};

/// What mutations insert: the edges of parsers.
const PIECES: &[&str] = &[
    "",
    "\0",
    "\\u0000",
    "\\\\u0000",
    "\\ud800",
    "$serde_json::private::RawValue",
    "null",
    "-0",
    "1e400",
    "-1e-400",
    "18446744073709551616",
    "9223372036854775807",
    "\"",
    "{",
    "[",
    "]}",
    ",",
    ":",
    "/",
    "+",
    "#",
    "~",
    "%00",
    "\u{feff}",
    "é",
    "\u{1f600}",
];

#[derive(Debug, Clone)]
enum Mutation {
    Insert(usize, &'static str),
    Delete(usize, usize),
    Repeat(usize, usize, usize),
    Replace(usize, u8),
    Nest(usize, usize),
    Truncate(usize),
}

/// Returns inputs derived from `corpus` by up to six mutations.
pub(crate) fn inputs(corpus: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let at = || 0..4096_usize;
    let mutation = prop_oneof![
        4 => (at(), select(PIECES)).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        2 => (at(), 1..16_usize).prop_map(|(at, count)| Mutation::Delete(at, count)),
        1 => (at(), 1..64_usize, 1..512_usize)
            .prop_map(|(at, count, times)| Mutation::Repeat(at, count, times)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        1 => (at(), 1..200_usize).prop_map(|(at, levels)| Mutation::Nest(at, levels)),
        1 => at().prop_map(Mutation::Truncate),
    ];
    (select(corpus), prop::collection::vec(mutation, 0..6)).prop_map(|(seed, mutations)| {
        let start = seed.as_bytes().to_vec();
        mutations.into_iter().fold(start, mutated)
    })
}

/// Returns the same inputs as text.
pub(crate) fn texts(corpus: &'static [&'static str]) -> impl Strategy<Value = String> {
    inputs(corpus).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn mutated(mut bytes: Vec<u8>, mutation: Mutation) -> Vec<u8> {
    let place = |at: usize| at % (bytes.len() + 1);
    match mutation {
        Mutation::Insert(at, piece) => {
            let at = place(at);
            drop(bytes.splice(at..at, piece.bytes()));
        }
        Mutation::Delete(at, count) => {
            let at = place(at);
            drop(bytes.drain(at..(at + count).min(bytes.len())));
        }
        Mutation::Repeat(at, count, times) => {
            let at = place(at);
            let piece = bytes[at..(at + count).min(bytes.len())].repeat(times);
            drop(bytes.splice(at..at, piece));
        }
        Mutation::Replace(at, byte) => {
            let at = place(at);
            if let Some(replaced) = bytes.get_mut(at) {
                *replaced = byte;
            }
        }
        Mutation::Nest(at, levels) => {
            // Around the value that begins there, if one does.
            let at = place(at);
            let nested = ["[".repeat(levels), "0".into(), "]".repeat(levels)].concat();
            let colon = bytes[at..].iter().position(|byte| *byte == b':').map(|colon| at + colon);
            let at = colon.map_or(at, |colon| colon + 1);
            let after = colon.and(bytes.get(at)).map(|_| ",\"n\":");
            let piece = [nested.as_bytes(), after.unwrap_or_default().as_bytes()].concat();
            drop(bytes.splice(at..at, piece));
        }
        Mutation::Truncate(at) => bytes.truncate(place(at)),
    }
    bytes
}
