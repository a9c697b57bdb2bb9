//! Bearer tokens: JWTs signed with Ed25519, whose key is named by its thumbprint. Everything a
//! token must be is checked here, and a token that is refused is refused for one reason only: it
//! is not one of ours that holds now.

mod jwks;
mod refresh;

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

pub use jwks::{JwkSet, PublicKey};
pub use refresh::{REFRESH_AUDIENCE, REFRESH_MAX_CHARS, RefreshClaims, Unsigned};

/// Who issues tokens, and for whom.
pub const ISSUER: &str = "tributary";
pub const AUDIENCE: &str = "tributary";
/// How far our clock may be behind the issuer's when a token begins to hold, in seconds. Its end
/// has no leeway.
pub const NOT_BEFORE_LEEWAY: i64 = 5;
/// Longest token that is looked at, in bytes.
pub const MAX_BYTES: usize = 4096;
/// Tokens whose signature is remembered as good: checking one costs more than answering a request.
const REMEMBERED: usize = 4096;
/// Longest subject, in bytes: it stands in events and idempotency keys.
pub const MAX_SUBJECT_BYTES: usize = 128;

/// An Ed25519 private key in PKCS#8 is this and 32 bytes.
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    pub role: Role,
    /// The session it was given out in, if it was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// Seconds since the epoch, as all times here.
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

impl Claims {
    fn new(subject: &str, role: Role, sid: Option<Uuid>, holds: Duration) -> Self {
        let now = Utc::now().timestamp();
        let holds = i64::try_from(holds.as_secs()).unwrap_or(i64::MAX);
        Self {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: subject.into(),
            role,
            sid,
            iat: now,
            nbf: now,
            exp: now.saturating_add(holds),
        }
    }
}

/// The token is not one of ours, or does not hold now.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("the token is malformed or not signed by us")]
    Token(#[from] jsonwebtoken::errors::Error),
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    #[error("the token has expired, or does not hold yet")]
    Time,
    #[error("the token's claims are not those of a caller")]
    Claims,
}

/// Signs and checks tokens.
pub struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
    /// The public key, in base64url.
    public: String,
    id: String,
    validation: Validation,
    refresh_validation: Validation,
    remembered: Cache<String, Claims>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the private key.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(file)
            .with_context(|| format!("the signing key {} cannot be read", file.display()))?;
        Self::from_pem(&pem)
            .with_context(|| format!("{} is not an Ed25519 key in PKCS#8, PEM", file.display()))
    }

    fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let signing = EncodingKey::from_ed_pem(pem)?;
        let key = Jwk::from_encoding_key(&signing, Algorithm::EdDSA)?;
        let AlgorithmParameters::OctetKeyPair(public) = &key.algorithm else {
            anyhow::bail!("it is a key of another kind");
        };
        Ok(Self {
            checking: DecodingKey::from_ed_components(&public.x)?,
            public: public.x.clone(),
            id: key.thumbprint(ThumbprintHash::SHA256)?,
            signing,
            validation: validation(AUDIENCE),
            refresh_validation: validation(REFRESH_AUDIENCE),
            remembered: Cache::new(REMEMBERED),
        })
    }

    /// A token for `subject` that holds from now on.
    pub fn sign(&self, subject: &str, role: Role, holds: Duration) -> anyhow::Result<String> {
        Ok(self.encode(&Claims::new(subject, role, None, holds))?)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, Unsigned> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, claims, &self.signing)?)
    }

    /// What the token says, if it is ours and holds now.
    pub fn check(&self, token: &str) -> Result<Claims, Invalid> {
        let claims = match self.remembered.get(token) {
            Some(claims) => claims,
            None => self.read(token)?,
        };
        in_time(claims.nbf, claims.exp)?;
        Ok(claims)
    }

    /// Checks everything but the time, which goes on.
    fn read(&self, token: &str) -> Result<Claims, Invalid> {
        let claims: Claims = self.decode(token, &self.validation)?;
        let subject = claims.sub.as_bytes();
        let readable = subject.iter().all(u8::is_ascii_graphic);
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || !readable {
            return Err(Invalid::Claims);
        }
        self.remembered.insert(token.to_owned(), claims.clone());
        Ok(claims)
    }

    /// The claims of a token of ours: signed with our key, which it names, for that audience.
    fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
    ) -> Result<T, Invalid> {
        if token.len() > MAX_BYTES {
            return Err(Invalid::Claims);
        }
        let header = jsonwebtoken::decode_header(token)?;
        if header.kid.as_deref() != Some(&*self.id) {
            return Err(Invalid::UnknownKey);
        }
        Ok(jsonwebtoken::decode(token, &self.checking, validation)?.claims)
    }
}

fn validation(audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    // The times are checked by ourselves: to the second, and in one place.
    validation.leeway = 0;
    validation.validate_exp = false;
    validation
}

fn in_time(begins: i64, ends: i64) -> Result<(), Invalid> {
    let now = Utc::now().timestamp();
    if ends <= now || begins > now + NOT_BEFORE_LEEWAY { Err(Invalid::Time) } else { Ok(()) }
}

/// Makes a new private key in `file`, which must not exist; only its owner may read it.
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
        .with_context(|| format!("the signing key {} cannot be written", file.display()))?;
    Keys::from_pem(text.as_bytes())
}

#[cfg(test)]
mod tests;
