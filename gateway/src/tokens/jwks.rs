//! The public keys as a JSON Web Key Set, for services that verify tokens themselves.

use serde::Serialize;
use utoipa::ToSchema;

use super::Keys;

/// A JSON Web Key Set (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    /// The public keys: the one that signs and, during a rotation, another one that is accepted.
    keys: Vec<PublicKey>,
}

/// An Ed25519 public key (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Jwk)]
pub struct PublicKey {
    /// Always `OKP`.
    kty: &'static str,
    /// Always `Ed25519`.
    crv: &'static str,
    /// The public key, in base64url.
    x: String,
    /// Key id: the thumbprint (RFC 7638), as in the header of each token.
    kid: String,
    /// Always `EdDSA`.
    alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    used_for: &'static str,
}

impl Keys {
    /// Returns the key set. The key that signs comes first.
    pub fn jwks(&self) -> JwkSet {
        let keys = self.accepted.iter().map(|key| PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            x: key.public.clone(),
            kid: key.id.clone(),
            alg: "EdDSA",
            used_for: "sig",
        });
        JwkSet { keys: keys.collect() }
    }
}
