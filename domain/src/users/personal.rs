//! Personal data of a user, in one type so that it can be erased in one place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::name::{InvalidName, Name};

/// The personal data of a user. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// E-mail address, with which the user signs in.
    pub email: EmailAddress,
    /// Full name.
    pub full_name: FullName,
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(***)")
    }
}

/// An e-mail address as its owner writes it. Addresses that differ in case only belong to the same
/// user. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Maximum length in characters (RFC 5321, without the brackets).
    pub const MAX_CHARS: usize = 254;
    /// Maximum length of the part before the `@`, in characters.
    const MAX_LOCAL_CHARS: usize = 64;

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the lower-case address in hexadecimal, which identifies the address
    /// where it must not be stored itself.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.0.to_ascii_lowercase()))
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidEmail;

    /// Parses an address, without surrounding white space. Quoted local parts and IP address literals
    /// are refused because they are not in use; non-ASCII text is refused because it has more than
    /// one encoding.
    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
        let text = text.trim();
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let atom = |part: &str| {
            let special = |byte: u8| b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
        };
        let label = |part: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let edges = !part.starts_with('-') && !part.ends_with('-');
            (1..=63).contains(&part.len()) && edges && part.bytes().all(inside)
        };
        let fits = text.len() <= Self::MAX_CHARS && local.len() <= Self::MAX_LOCAL_CHARS;
        if fits && local.split('.').all(atom) && domain.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidEmail)
        }
    }
}

/// The text is not an e-mail address. The message does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address of at most {} characters", EmailAddress::MAX_CHARS)]
pub struct InvalidEmail;

/// The full name of a person: a [name](crate::name) when it is parsed; a stored one is deserialized as
/// it is. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct FullName(String);

impl FullName {
    /// Maximum length in characters.
    pub const MAX_CHARS: usize = 200;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FullName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = Name::<{ Self::MAX_CHARS }>::try_from(text.to_owned())?;
        Ok(Self(name.into()))
    }
}

impl From<String> for FullName {
    /// Takes a stored name.
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = InvalidEmail;

    fn try_from(text: String) -> Result<Self, InvalidEmail> {
        text.parse()
    }
}

macro_rules! personal_text {
    ($($name:ident),*) => {$(
        impl From<$name> for String {
            fn from($name(text): $name) -> Self {
                text
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    )*};
}
personal_text!(EmailAddress, FullName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_local_part_and_a_domain() {
        for text in ["ada@example.org", " Ada.L+x@sub.example.org ", "a@localhost", "!#$%@x-y.org"]
        {
            assert!(text.parse::<EmailAddress>().is_ok(), "{text}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}org", "example.".repeat(32));
        for text in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "a@b@c",
            "a b@example.org",
            "a@exa mple.org",
            ".a@example.org",
            "a..b@example.org",
            "a@.org",
            "a@-x.org",
            "a@x-.org",
            "a\0@example.org",
            "ä@example.org",
            "a@[127.0.0.1]",
            "\"a\"@example.org",
            &long,
            &longer,
        ] {
            assert!(text.parse::<EmailAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_differ_in_case_have_one_fingerprint() {
        let fingerprint = |text: &str| text.parse::<EmailAddress>().unwrap().fingerprint();
        assert_eq!(fingerprint("Ada@Example.org"), fingerprint(" ada@example.ORG"));
        assert_ne!(fingerprint("ada@example.org"), fingerprint("ada@example.com"));
        assert_eq!(fingerprint("ada@example.org").len(), 64);
    }

    #[test]
    fn a_name_has_a_visible_character() {
        assert!("Ada".parse::<FullName>().is_ok() && "ä".repeat(200).parse::<FullName>().is_ok());
        for text in ["", "  ", "\n", "a\0", &"ä".repeat(201)] {
            assert!(text.parse::<FullName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_hides_personal_data() {
        let personal = Personal {
            email: "ada@example.org".parse().unwrap(),
            full_name: "Ada Lovelace".parse().unwrap(),
        };
        let shown = format!("{personal:?} {:?} {:?}", personal.email, personal.full_name);
        assert!(!shown.contains("ada") && !shown.contains("Lovelace"), "{shown}");
    }
}
