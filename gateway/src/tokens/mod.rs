//! Bearer tokens: JWTs signed with Ed25519, whose key id is the thumbprint of the key. A token is
//! accepted if it is signed with this key or, during a rotation, with a second one, for this audience,
//! and valid now.

mod ed25519;
mod jwks;
mod refresh;
mod ticket;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use domain::Role;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use ed25519::install_cryptography;
pub use jwks::{JwkSet, PublicKey};
pub use refresh::{REFRESH_AUDIENCE, REFRESH_MAX_CHARS, RefreshClaims, SigningError};
pub use ticket::{TICKET_AUDIENCE, TicketClaims};

/// `iss` of all tokens.
pub const ISSUER: &str = "tributary";
/// `aud` of access tokens.
pub const AUDIENCE: &str = "tributary";
/// Leeway of `nbf` for clocks that are behind the issuer's, in seconds. `exp` has none.
pub const NOT_BEFORE_LEEWAY: i64 = 5;
/// Longest accepted token, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Tokens whose verified claims are cached: a verification costs more than many a request.
const CACHED: usize = 4096;
/// Longest subject, in bytes: it is stored in events and idempotency keys.
pub const MAX_SUBJECT_BYTES: usize = 128;

/// Encoding of an Ed25519 private key in PKCS#8, before its 32 bytes.
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Audience: [`AUDIENCE`].
    pub aud: String,
    /// Subject: a user id, or the name of a program.
    pub sub: String,
    /// Role of the subject.
    pub role: Role,
    /// Session id, if the token was issued in a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// Time of issue, in seconds since the Unix epoch.
    pub iat: i64,
    /// Time from which the token is valid, in seconds since the Unix epoch.
    pub nbf: i64,
    /// Time from which the token is expired, in seconds since the Unix epoch.
    pub exp: i64,
}

impl Claims {
    fn new(subject: &str, role: Role, sid: Option<Uuid>, lifetime: Duration) -> Self {
        let now = Utc::now().timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Self {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: subject.into(),
            role,
            sid,
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime),
        }
    }
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidToken {
    /// It is malformed, or its signature, issuer or audience is wrong.
    #[error("the token is malformed or its signature is invalid")]
    Token(#[from] jsonwebtoken::errors::Error),
    /// Its key id is not that of a key of this server.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// It has expired, or is not valid yet.
    #[error("the token has expired or is not valid yet")]
    Time,
    /// It or its subject is too long, or its subject is not printable ASCII.
    #[error("the token's subject is invalid")]
    Claims,
}

/// A key whose tokens are accepted.
struct Accepted {
    /// Key id: the thumbprint (RFC 7638).
    id: String,
    /// Public key, in base64url.
    public: String,
    checking: DecodingKey,
}

/// Signs and verifies tokens.
pub struct Keys {
    signing: EncodingKey,
    /// Id of the key that signs.
    id: String,
    /// The key that signs and, during a rotation, one more.
    accepted: Vec<Accepted>,
    validation: Validation,
    refresh_validation: Validation,
    ticket_validation: Validation,
    /// Claims of verified tokens.
    cache: Cache<String, Claims>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Keys {
    /// Loads the private key from a PEM file.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(file)
            .with_context(|| format!("cannot read the signing key {}", file.display()))?;
        Self::from_pem(&pem)
            .with_context(|| format!("{} is not an Ed25519 key in PKCS#8, PEM", file.display()))
    }

    /// Accepts the tokens of the key in `file`, too, and shows it in the key set: during a rotation,
    /// the key that signed before or will sign next.
    pub fn accept(&mut self, file: &Path) -> anyhow::Result<()> {
        let others = Self::load(file)?.accepted;
        let known = |key: &Accepted| self.accepted.iter().any(|known| known.id == key.id);
        let others: Vec<_> = others.into_iter().filter(|key| !known(key)).collect();
        self.accepted.extend(others);
        Ok(())
    }

    fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        install_cryptography();
        let signing = EncodingKey::from_ed_pem(pem)?;
        let key = Jwk::from_encoding_key(&signing, Algorithm::EdDSA)?;
        let AlgorithmParameters::OctetKeyPair(public) = &key.algorithm else {
            anyhow::bail!("it is not an Ed25519 key");
        };
        let id = key.thumbprint(ThumbprintHash::SHA256)?;
        let accepted = Accepted {
            id: id.clone(),
            public: public.x.clone(),
            checking: DecodingKey::from_ed_components(&public.x)?,
        };
        Ok(Self {
            signing,
            id,
            accepted: vec![accepted],
            validation: validation(AUDIENCE),
            refresh_validation: validation(REFRESH_AUDIENCE),
            ticket_validation: validation(TICKET_AUDIENCE),
            cache: Cache::new(CACHED),
        })
    }

    /// Returns an access token for `subject` that is valid from now on, outside of any session.
    pub fn sign(&self, subject: &str, role: Role, lifetime: Duration) -> anyhow::Result<String> {
        Ok(self.encode(&Claims::new(subject, role, None, lifetime))?)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, SigningError> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, claims, &self.signing)?)
    }

    /// Verifies an access token and returns its claims.
    pub fn check(&self, token: &str) -> Result<Claims, InvalidToken> {
        let claims = match self.cache.get(token) {
            Some(claims) => claims,
            None => self.read(token)?,
        };
        in_time(claims.nbf, claims.exp)?;
        Ok(claims)
    }

    /// Verifies all but the time, and caches the claims.
    fn read(&self, token: &str) -> Result<Claims, InvalidToken> {
        let claims: Claims = self.decode(token, &self.validation)?;
        let subject = claims.sub.as_bytes();
        let readable = subject.iter().all(u8::is_ascii_graphic);
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || !readable {
            return Err(InvalidToken::Claims);
        }
        self.cache.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    /// Verifies the key id, a signature made with that key, issuer and audience.
    fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<T, InvalidToken> {
        if token.len() > MAX_BYTES {
            return Err(InvalidToken::Claims);
        }
        let header = jsonwebtoken::decode_header(token)?;
        let id = header.kid.as_deref();
        let key = self.accepted.iter().find(|key| id == Some(&*key.id));
        let key = key.ok_or(InvalidToken::UnknownKey)?;
        Ok(jsonwebtoken::decode(token, &key.checking, validation)?.claims)
    }
}

fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    // `in_time` checks the times, to the second.
    validation.leeway = 0;
    validation.validate_exp = false;
    validation
}

fn in_time(begins: i64, ends: i64) -> Result<(), InvalidToken> {
    let now = Utc::now().timestamp();
    if ends <= now || begins > now + NOT_BEFORE_LEEWAY { Err(InvalidToken::Time) } else { Ok(()) }
}

/// Creates a private key in `file`, with mode 0600. Fails if the file exists.
pub fn make_key(file: &Path) -> anyhow::Result<Keys> {
    use std::os::unix::fs::OpenOptionsExt;
    let secret: [u8; 32] = rand::random();
    let der = [PKCS8_ED25519.as_slice(), &secret].concat();
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write the signing key {}", file.display()))?;
    Keys::from_pem(text.as_bytes())
}

#[cfg(test)]
mod tests;
