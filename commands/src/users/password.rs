//! Passwords: their rules, and their hashes. A hash takes a thread and 19 MiB for tens of milliseconds;
//! a bound keeps a few hundred concurrent sign-ins from exhausting the machine.
//!
//! A character such as `ä` has two spellings in Unicode, and keyboards differ in which one they send.
//! Passwords are hashed in the composed form (NFC), so that both sign in. Hashes from before may be of
//! the other form: a password that is not in NFC is verified in both.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use domain::users::PasswordHash;
use serde::Deserialize;
use tokio::sync::Semaphore;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::Error;

/// Memory of one hash, in KiB: with two passes and one lane, the parameters OWASP recommends.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Most hashes computed at a time, on any number of processors: each takes [`MEMORY_KIB`].
const MAX_CONCURRENT_HASHES: usize = 8;
/// Most hashes that wait to be computed. Beyond that, requests fail with [`Error::Busy`].
pub const MAX_QUEUED_HASHES: usize = 64;

/// Verified when there is no such user, so that the response takes as long. It belongs to no user, and
/// no password that matches it signs anybody in.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IHNhbHQgaGVyZQ$\
                       bm9ib2R5J3MgaGFzaCBvZiBubyBwYXNzd29yZCBhdCE";

/// A password as it was sent.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Plain(String);

impl Plain {
    /// Wraps a password.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the password. Do not log or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The password in NFC.
    fn normalized(&self) -> Self {
        Self(self.0.nfc().collect())
    }
}

/// A password of an allowed length in NFC, for a new user or as a new password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(Plain);

impl Password {
    /// Shortest password, in characters.
    pub const MIN_CHARS: usize = 8;
    /// Longest password, in characters.
    pub const MAX_CHARS: usize = 128;

    pub(super) fn is(&self, other: &Plain) -> bool {
        self.0 == other.normalized()
    }
}

impl FromStr for Password {
    type Err = InvalidPassword;

    fn from_str(text: &str) -> Result<Self, InvalidPassword> {
        let normalized: String = text.nfc().collect();
        if (Self::MIN_CHARS..=Self::MAX_CHARS).contains(&normalized.chars().count()) {
            Ok(Self(Plain(normalized)))
        } else {
            Err(InvalidPassword)
        }
    }
}

impl TryFrom<String> for Password {
    type Error = InvalidPassword;

    fn try_from(text: String) -> Result<Self, InvalidPassword> {
        text.parse()
    }
}

impl From<Password> for Plain {
    fn from(Password(plain): Password) -> Self {
        plain
    }
}

/// The password is too short or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has {} to {} characters", Password::MIN_CHARS, Password::MAX_CHARS)]
pub struct InvalidPassword;

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Hashes and checks passwords, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Passwords {
    /// Hashes being computed or waiting.
    queue: Arc<Semaphore>,
    /// Hashes being computed.
    permits: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(processors.min(MAX_CONCURRENT_HASHES), MAX_QUEUED_HASHES)
    }

    fn with(at_once: usize, waiting: usize) -> Self {
        Self {
            queue: Arc::new(Semaphore::new(at_once + waiting)),
            permits: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Hashes `password` with a new salt.
    pub(super) async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        let Password(Plain(text)) = password;
        let hash = self.run_blocking(move || argon2()?.hash_password(text.as_bytes())).await??;
        Ok(PasswordHash::new(hash.to_string()))
    }

    /// Whether `hash` is a hash of `password` in NFC, or as it was sent. The second is computed only
    /// for a password that is not in NFC.
    pub(super) async fn verify(&self, password: Plain, hash: PasswordHash) -> Result<bool, Error> {
        let check = move || {
            let verify =
                |Plain(text): &Plain| argon2()?.verify_password(text.as_bytes(), hash.expose());
            match verify(&password.normalized()) {
                Err(HashError::PasswordInvalid) if !is_nfc(&password.0) => verify(&password),
                outcome => outcome,
            }
        };
        match self.run_blocking(check).await? {
            Ok(()) => Ok(true),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Like [`Self::verify`] for a user who may not exist. False without a hash, after as long.
    pub(super) async fn verify_or_reject(
        &self,
        password: Plain,
        hash: Option<PasswordHash>,
    ) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| PasswordHash::new(DUMMY_HASH.into()));
        Ok(self.verify(password, hash).await? && exists)
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_full| Error::Busy)?;
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_closed| Error::Busy)?;
        // The work holds both, so that a caller that stops waiting frees nothing before its end.
        let work = move || {
            let result = work();
            drop((place, permit));
            result
        };
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Plain {
        Plain::new(text.into())
    }

    #[tokio::test]
    async fn a_hash_verifies_its_own_password_and_no_other() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".parse().unwrap()).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(passwords.verify(plain("correct horse"), hash.clone()).await.unwrap());
        assert!(!passwords.verify(plain("correct hors"), hash.clone()).await.unwrap());
        let again = passwords.hash("correct horse".parse().unwrap()).await.unwrap();
        assert_ne!(hash, again, "each hash has a salt of its own");
        let garbage = PasswordHash::new("garbage".into());
        assert!(passwords.verify(plain("x"), garbage).await.is_err());
    }

    #[tokio::test]
    async fn both_spellings_of_a_character_are_one_password() {
        let (composed, decomposed) = ("p\u{e4}ssw\u{f6}rd", "pa\u{308}sswo\u{308}rd");
        let passwords = Passwords::new();
        for text in [composed, decomposed] {
            let password: Password = text.parse().unwrap();
            assert!(password.is(&plain(composed)) && password.is(&plain(decomposed)));
            let hash = passwords.hash(password).await.unwrap();
            for typed in [composed, decomposed] {
                assert!(passwords.verify(plain(typed), hash.clone()).await.unwrap());
            }
        }
        // A hash from before passwords were normalized is of the password as it was sent.
        let hash = argon2().unwrap().hash_password(decomposed.as_bytes()).unwrap();
        let hash = PasswordHash::new(hash.to_string());
        assert!(passwords.verify(plain(decomposed), hash.clone()).await.unwrap());
        assert!(!passwords.verify(plain("pa\u{308}sswort"), hash).await.unwrap());
        assert!("a\u{308}".repeat(7).parse::<Password>().is_err(), "7 characters");
        assert!("a\u{308}".repeat(128).parse::<Password>().is_ok());
    }

    #[tokio::test]
    async fn the_dummy_hash_takes_as_long_as_any_other() {
        let passwords = Passwords::new();
        assert!(!passwords.verify_or_reject(plain("correct horse"), None).await.unwrap());
        let hash = passwords.hash("correct horse".parse().unwrap()).await.unwrap();
        let parameters = |phc: &str| phc.rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(parameters(DUMMY_HASH), parameters(hash.expose()), "it takes as long");
        let lengths = |phc: &str| phc.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(lengths(DUMMY_HASH), lengths(hash.expose()));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_further_hashes() {
        let passwords = Arc::new(Passwords::with(1, 1));
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let blocked = passwords.run_blocking(move || receiver.recv().ok());
        let mut blocked = Box::pin(blocked);
        assert!(futures::poll!(&mut blocked).is_pending());
        let mut waits = Box::pin(passwords.run_blocking(|| ()));
        assert!(futures::poll!(&mut waits).is_pending());
        assert!(matches!(passwords.run_blocking(|| ()).await, Err(Error::Busy)));
        drop(sender);
        blocked.await.unwrap();
        waits.await.unwrap();
        passwords.run_blocking(|| ()).await.unwrap();
    }

    #[test]
    fn a_password_has_a_bounded_length_and_is_not_printed() {
        for text in ["", "1234567", &"x".repeat(129)] {
            assert!(text.parse::<Password>().is_err(), "{text}");
        }
        let password: Password = "pässwörd".parse().unwrap();
        assert_eq!(format!("{password:?} {:?}", plain("secret")), "*** ***");
    }
}
