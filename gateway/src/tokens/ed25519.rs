//! Ed25519 for `jsonwebtoken`, on *ring*: signing, verification and the public key of a private one.
//! No other algorithm is supported, so a token that names another one is refused.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => Ok(Box::new(Ed25519Signer::new(key)?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => Ok(Box::new(Ed25519Verifier::new(key)?)),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    key_utils: KeyUtils {
        ed_pub_components_from_private_key: public_key,
        compute_digest,
        ..KeyUtils::new_unimplemented()
    },
};

/// Makes this the cryptography of `jsonwebtoken` in this process. Repeated calls have no effect.
pub fn install_cryptography() {
    PROVIDER.install_default().ok();
}

fn pair(pkcs8: &[u8]) -> Result<Ed25519KeyPair, Error> {
    // Version 1 of PKCS#8 has no public key to compare with.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
        .map_err(|_rejected| ErrorKind::InvalidEddsaKey.into())
}

fn public_key(pkcs8: &[u8], _: &EllipticCurve) -> Result<Vec<u8>, Error> {
    Ok(pair(pkcs8)?.public_key().as_ref().to_vec())
}

fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>, Error> {
    let algorithm = match hash {
        ThumbprintHash::SHA256 => &digest::SHA256,
        ThumbprintHash::SHA384 => &digest::SHA384,
        ThumbprintHash::SHA512 => &digest::SHA512,
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

struct Ed25519Signer(Ed25519KeyPair);

impl Ed25519Signer {
    fn new(key: &EncodingKey) -> Result<Self, Error> {
        match key.family() {
            AlgorithmFamily::Ed => Ok(Self(pair(key.as_bytes())?)),
            _ => Err(ErrorKind::InvalidKeyFormat.into()),
        }
    }
}

impl Signer<Vec<u8>> for Ed25519Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for Ed25519Signer {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct Ed25519Verifier(UnparsedPublicKey<Vec<u8>>);

impl Ed25519Verifier {
    fn new(key: &DecodingKey) -> Result<Self, Error> {
        match key.family() {
            AlgorithmFamily::Ed => {
                let public = key.try_get_as_bytes()?.to_vec();
                Ok(Self(UnparsedPublicKey::new(&ED25519, public)))
            }
            _ => Err(ErrorKind::InvalidKeyFormat.into()),
        }
    }
}

impl Verifier<Vec<u8>> for Ed25519Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0.verify(message, signature).map_err(|_unspecified| signature::Error::new())
    }
}

impl JwtVerifier for Ed25519Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
