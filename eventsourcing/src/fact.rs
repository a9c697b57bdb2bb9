//! The identity of facts: things that happened whether or not we agree, and that may be reported
//! to us more than once.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Names a fact after what identifies it: the same fact is the same event, however often it is
/// delivered. 48 bits of a number that `ordered_by` with time stand in front, so that the log's index
/// of ids is written at its end; a hash of `texts` and `numbers` stands behind.
///
/// Ids stand in logs: what goes into one, and in which order, is for ever.
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
    fn an_id_never_changes_its_form() {
        // The reading 42 of device `d` of `u`, as it stands in logs.
        let id = id(&["u", "d", ""], &[42, 1_700_000_000_000_000], 1_700_000_000_000);
        assert_eq!(id.to_string(), "018bcfe5-6800-852b-b2e2-81c9d1b2307a");
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(id(&["ab", "c"], &[], 0), id(&["a", "bc"], &[], 0));
    }
}
