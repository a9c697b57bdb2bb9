//! One-time codes, each of which signs a user in once without a password. `tributary dev` issues them for
//! the link that it prints; nothing else does. They are kept in the memory of the process only.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::distr::Alphanumeric;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Length of a code, in characters; each is one of 62, so a code cannot be guessed.
const CHARACTERS: usize = 32;
/// Codes that are valid at a time; a further one replaces the oldest.
const MOST: usize = 16;

/// The codes that were issued and not used. Clones refer to the same codes.
#[derive(Debug, Clone, Default)]
pub struct OneTimeCodes(Arc<Mutex<Vec<Issued>>>);

#[derive(Debug)]
struct Issued {
    /// The code itself is not kept.
    digest: [u8; 32],
    user_id: Uuid,
    expires: Instant,
}

impl OneTimeCodes {
    /// Returns a new code that signs the user `user_id` in, once, within `lifetime`.
    pub fn issue(&self, user_id: Uuid, lifetime: Duration) -> String {
        let random = rand::rng().sample_iter(Alphanumeric).take(CHARACTERS);
        let code: String = random.map(char::from).collect();
        let now = Instant::now();
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        issued.retain(|code| code.expires > now);
        if issued.len() == MOST {
            issued.remove(0);
        }
        issued.push(Issued { digest: digest(&code), user_id, expires: now + lifetime });
        code
    }

    /// Uses `code` up, and returns the user whom it signs in; `None` if it was not issued, was used or has
    /// expired.
    pub(crate) fn redeem(&self, code: &str) -> Option<Uuid> {
        let digest = digest(code);
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = issued.iter().position(|issued| issued.digest == digest)?;
        let Issued { user_id, expires, .. } = issued.remove(index);
        (expires > Instant::now()).then_some(user_id)
    }
}

fn digest(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_code_is_used_once_in_its_lifetime() {
        let codes = OneTimeCodes::default();
        let ada = Uuid::from_u128(1);
        let code = codes.issue(ada, MINUTE);
        assert_eq!(code.len(), CHARACTERS);
        assert_eq!(codes.redeem("another"), None);
        assert_eq!(codes.clone().redeem(&code), Some(ada));
        assert_eq!(codes.redeem(&code), None, "it was used");
        assert_eq!(codes.redeem(&codes.issue(ada, Duration::ZERO)), None, "it has expired");
    }

    #[test]
    fn a_bounded_number_of_codes_is_kept() {
        let codes = OneTimeCodes::default();
        let issued: Vec<_> = (0..=MOST).map(|_| codes.issue(Uuid::nil(), MINUTE)).collect();
        assert_eq!(codes.redeem(&issued[0]), None, "the oldest was replaced");
        assert!(issued[1..].iter().all(|code| codes.redeem(code).is_some()));
    }
}
