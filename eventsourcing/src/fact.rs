//! Ids of facts. A fact, such as a sensor reading, is recorded without a decision and may be
//! delivered more than once; an id derived from its content makes every delivery the same event.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Derives the id of a fact (a version 8 UUID) from what identifies it.
///
/// The first 48 bits are the low bits of `ordered_by`, a number that increases with time, so that
/// inserts go to the end of the log's index of ids. The remaining bits are a SHA-256 hash of `texts`
/// and `numbers`.
///
/// Ids are stored: the inputs of an id and their order must never change.
pub fn id(texts: &[&str], numbers: &[i64], ordered_by: i64) -> Uuid {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ordered_by.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&hash.finalize()[..10]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_changes() {
        // Reading 42 of device `d` of user `u`, as stored in existing logs.
        let id = id(&["u", "d", ""], &[42, 1_700_000_000_000_000], 1_700_000_000_000);
        assert_eq!(id.to_string(), "018bcfe5-6800-852b-b2e2-81c9d1b2307a");
    }

    #[test]
    fn texts_are_hashed_with_their_lengths() {
        assert_ne!(id(&["ab", "c"], &[], 0), id(&["a", "bc"], &[], 0));
    }
}
