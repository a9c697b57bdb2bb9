//! Which tokens are accepted and which are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use ring::hmac;
use serde_json::{Value, json};

use super::*;

fn keys() -> Keys {
    keys_of([7; 32])
}

fn pem_of(secret: [u8; 32]) -> String {
    let der = [PKCS8_ED25519.as_slice(), &secret].concat();
    pem::encode(&pem::Pem::new("PRIVATE KEY", der))
}

fn keys_of(secret: [u8; 32]) -> Keys {
    Keys::from_pem(pem_of(secret).as_bytes()).unwrap()
}

fn now() -> i64 {
    Utc::now().timestamp()
}

fn claims() -> Value {
    json!({
        "iss": "tributary", "aud": "tributary", "sub": "ada", "role": "admin",
        "iat": now(), "nbf": now() - 1, "exp": now() + 60,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(keys: &Keys, claims: &Value) -> String {
    let header = Header { kid: Some(keys.id.clone()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &keys.signing).unwrap()
}

/// Returns a token with this header, these claims and this signature.
fn forged(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_signed_token_is_accepted() {
    let keys = keys();
    let token = keys.sign("ada", Role::Operator, Duration::from_mins(1)).unwrap();
    let claims = keys.check(&token).unwrap();
    assert_eq!((claims.sub.as_str(), claims.role), ("ada", Role::Operator));
    assert!(keys.check(&signed(&keys, &self::claims())).is_ok());
}

#[test]
fn every_other_token_is_refused() {
    let keys = keys();
    let good = signed(&keys, &claims());
    let (body, signature) = good.rsplit_once('.').unwrap();
    let public = Jwk::from_encoding_key(&keys.signing, Algorithm::EdDSA).unwrap();
    let AlgorithmParameters::OctetKeyPair(public) = public.algorithm else {
        panic!("not an Ed25519 key");
    };
    let hmac = |secret: &[u8], algorithm| {
        let (name, algorithm) = algorithm;
        let unsigned = forged(&json!({"alg": name, "typ": "JWT", "kid": keys.id}), &claims(), "");
        let content = unsigned.trim_end_matches('.');
        let signature = hmac::sign(&hmac::Key::new(algorithm, secret), content.as_bytes());
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let header = |value: Option<&str>| {
        let header = Header { kid: value.map(Into::into), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims(), &keys.signing).unwrap()
    };
    let none = |alg: &str| {
        let header = json!({"alg": alg, "typ": "JWT", "kid": keys.id});
        forged(&header, &claims(), "")
    };
    let mut flipped = signature.to_owned();
    flipped.replace_range(0..1, if signature.starts_with('A') { "B" } else { "A" });

    let refused = [
        ("empty", String::new()),
        ("one part", "nonsense".into()),
        ("two parts", body.into()),
        ("four parts", format!("{good}.more")),
        ("truncated", good[..good.len() - 4].into()),
        ("signature missing", format!("{body}.")),
        ("signature changed", format!("{body}.{flipped}")),
        ("claims changed", {
            let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": keys.id});
            forged(&header, &with("role", json!("admin")), signature)
        }),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("HS256 with the public key", hmac(public.x.as_bytes(), ("HS256", hmac::HMAC_SHA256))),
        ("HS512 with the key id", hmac(keys.id.as_bytes(), ("HS512", hmac::HMAC_SHA512))),
        ("another key with our key id", {
            let header = Header { kid: Some(keys.id.clone()), ..Header::new(Algorithm::EdDSA) };
            jsonwebtoken::encode(&header, &claims(), &keys_of([8; 32]).signing).unwrap()
        }),
        ("another key with its own key id", signed(&keys_of([8; 32]), &claims())),
        ("unknown kid", header(Some("other"))),
        ("no kid", header(None)),
        ("wrong issuer", signed(&keys, &with("iss", json!("other")))),
        ("no issuer", signed(&keys, &without("iss"))),
        ("issuers", signed(&keys, &with("iss", json!(["tributary"])))),
        ("wrong audience", signed(&keys, &with("aud", json!("other")))),
        ("no audience", signed(&keys, &without("aud"))),
        ("expired", signed(&keys, &with("exp", json!(now() - 1)))),
        ("expires now", signed(&keys, &with("exp", json!(now())))),
        ("no expiry", signed(&keys, &without("exp"))),
        ("expiry as text", signed(&keys, &with("exp", json!((now() + 60).to_string())))),
        ("expiry as a fraction", signed(&keys, &with("exp", json!(1e12 + 0.5)))),
        ("expiry null", signed(&keys, &with("exp", Value::Null))),
        ("not valid yet", signed(&keys, &with("nbf", json!(now() + 60)))),
        ("no nbf", signed(&keys, &without("nbf"))),
        ("nbf as text", signed(&keys, &with("nbf", json!("0")))),
        ("no subject", signed(&keys, &without("sub"))),
        ("empty subject", signed(&keys, &with("sub", json!("")))),
        ("subject with a space", signed(&keys, &with("sub", json!("a b")))),
        ("subject too long", signed(&keys, &with("sub", json!("a".repeat(129))))),
        ("no role", signed(&keys, &without("role"))),
        ("unknown role", signed(&keys, &with("role", json!("root")))),
        ("role in capitals", signed(&keys, &with("role", json!("Admin")))),
        ("too long", signed(&keys, &with("padding", json!("x".repeat(MAX_BYTES))))),
    ];
    for (name, token) in refused {
        assert!(keys.check(&token).is_err(), "{name}: {token}");
    }
}

#[test]
fn the_key_id_is_the_thumbprint_and_debug_output_hides_the_key() {
    let keys = keys();
    assert_eq!(keys.id.len(), 43);
    assert_eq!(keys.id, self::keys().id);
    assert_eq!(format!("{keys:?}"), format!("Keys {{ id: {:?}, .. }}", keys.id));
}

#[test]
fn during_a_rotation_the_tokens_of_two_keys_are_accepted() {
    let file = std::env::temp_dir().join(Uuid::now_v7().to_string());
    let next = make_key(&file).unwrap();
    let mut keys = keys();
    let token = next.sign("ada", Role::User, Duration::from_mins(1)).unwrap();
    assert!(matches!(keys.check(&token), Err(InvalidToken::UnknownKey)));
    for _ in 0..2 {
        keys.accept(&file).unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(keys.check(&token).unwrap().sub, "ada");
    let own = keys.sign("ada", Role::User, Duration::from_mins(1)).unwrap();
    assert!(keys.check(&own).is_ok() && next.check(&own).is_err(), "the first key signs");
    assert!(keys.check(&signed(&keys_of([8; 32]), &claims())).is_err(), "a third key");
    let shown = serde_json::to_value(keys.jwks()).unwrap();
    let ids = shown["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), [&keys.id, &next.id]);
}
