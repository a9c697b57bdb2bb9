//! Forged and altered tokens over HTTP: each is refused with a problem.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::hmac;
use serde_json::{Value, json};
use tests::System;

/// A user id that no user has; tokens are checked without a user.
const SUBJECT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The signing key of a system, to forge tokens with.
struct Forge {
    pem: Vec<u8>,
    kid: String,
    /// The public key as served.
    public: Value,
}

impl Forge {
    async fn of(system: &System) -> Result<Self> {
        gateway::tokens::install_cryptography();
        let file = system.environment.iter().find(|(name, _)| name == "TRIBUTARY_SIGNING_KEY_FILE");
        let pem = std::fs::read(&file.context("the key's file is known")?.1)?;
        let url = format!("{}/.well-known/jwks.json", system.url());
        let set: Value = system.http.get(url).send().await?.error_for_status()?.json().await?;
        let public = set["keys"][0].clone();
        let kid = public["kid"].as_str().context("the key has a name")?.to_owned();
        Ok(Self { pem, kid, public })
    }

    fn key(&self) -> Result<EncodingKey> {
        Ok(EncodingKey::from_ed_pem(&self.pem)?)
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) }
    }

    /// Signs claims with the system's key.
    fn signed(&self, claims: &Value) -> Result<String> {
        Ok(jsonwebtoken::encode(&self.header(), claims, &self.key()?)?)
    }

    /// Signs with the system's key under another header.
    fn under(&self, header: Header) -> Result<String> {
        Ok(jsonwebtoken::encode(&header, &claims(), &self.key()?)?)
    }

    /// Signs with a known secret.
    fn hmac(&self, secret: &[u8]) -> String {
        let header = part(&json!({"alg": "HS256", "typ": "JWT", "kid": self.kid}));
        let content = format!("{header}.{}", part(&claims()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), content.as_bytes());
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

fn claims() -> Value {
    json!({
        "iss": "tributary", "aud": "tributary", "sub": SUBJECT, "role": "admin",
        "iat": now(), "nbf": now() - 1, "exp": now() + 600,
    })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("claims are an object").remove(name);
    claims
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The public key in PEM, as it would be handed out: 12 bytes of SPKI, and the key.
fn public_pem(x: &str) -> Result<String> {
    const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
    let der = [&SPKI[..], &URL_SAFE_NO_PAD.decode(x)?].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    Ok(format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

/// Creates another Ed25519 key in a file of its own.
fn another_key(system: &System) -> Result<(EncodingKey, Value)> {
    let file = system.folder.join("another.pem");
    gateway::tokens::make_key(&file)?;
    let key = EncodingKey::from_ed_pem(&std::fs::read(file)?)?;
    let public = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::EdDSA)?)?;
    Ok((key, public))
}

/// Returns tokens that are valid but for one property.
fn corpus(system: &System, forge: &Forge) -> Result<Vec<(&'static str, String)>> {
    let good = forge.signed(&claims())?;
    let (body, signature) = good.rsplit_once('.').context("a token has parts")?;
    let (head, payload) = body.split_once('.').context("a token has parts")?;
    let x = forge.public["x"].as_str().context("the key is public")?;
    let (other, other_public) = another_key(system)?;
    let none = |alg: &str| part(&json!({"alg": alg, "typ": "JWT", "kid": forge.kid}));
    let embedded = {
        let jwk: Jwk = serde_json::from_value(other_public)?;
        Header { jwk: Some(jwk), ..forge.header() }
    };
    let session = json!({
        "iss": "tributary", "aud": "tributary-refresh", "sub": SUBJECT, "sid": SUBJECT,
        "generation": 0, "iat": now(), "nbf": now(), "exp": now() + 600,
    });
    Ok(vec![
        ("alg none, no signature", format!("{}.{payload}.", none("none"))),
        ("alg none, our signature", format!("{}.{payload}.{signature}", none("none"))),
        ("alg nOnE", format!("{}.{payload}.", none("nOnE"))),
        ("HS256 with the raw key", forge.hmac(&URL_SAFE_NO_PAD.decode(x)?)),
        ("HS256 with the key's text", forge.hmac(x.as_bytes())),
        ("HS256 with the key in PEM", forge.hmac(public_pem(x)?.as_bytes())),
        ("HS256 with the JWK", forge.hmac(forge.public.to_string().as_bytes())),
        ("HS256 with nothing", forge.hmac(b"")),
        ("RS256", format!("{}.{payload}.{signature}", none("RS256"))),
        ("ES256", format!("{}.{payload}.{signature}", none("ES256"))),
        ("no alg", format!("{}.{payload}.{signature}", part(&json!({"kid": forge.kid})))),
        ("wrong kid", forge.under(Header { kid: Some("other".into()), ..forge.header() })?),
        ("a path as kid", forge.under(Header { kid: Some("/dev/null".into()), ..forge.header() })?),
        ("no kid", forge.under(Header { kid: None, ..forge.header() })?),
        ("another key, our kid", jsonwebtoken::encode(&forge.header(), &claims(), &other)?),
        ("another key, embedded", jsonwebtoken::encode(&embedded, &claims(), &other)?),
        ("expired", forge.signed(&with("exp", now() - 1))?),
        ("expires at the epoch", forge.signed(&with("exp", 0))?),
        ("exp as text", forge.signed(&with("exp", (now() + 600).to_string()))?),
        ("exp without end", forge.signed(&with("exp", 1e300))?),
        ("no exp", forge.signed(&without("exp"))?),
        ("holds later", forge.signed(&with("nbf", now() + 600))?),
        ("no nbf", forge.signed(&without("nbf"))?),
        ("wrong iss", forge.signed(&with("iss", "https://example.org"))?),
        ("no iss", forge.signed(&without("iss"))?),
        ("wrong aud", forge.signed(&with("aud", "another"))?),
        ("no aud", forge.signed(&without("aud"))?),
        ("aud of refresh tokens", forge.signed(&with("aud", "tributary-refresh"))?),
        ("a refresh token", forge.signed(&session)?),
        ("no sub", forge.signed(&without("sub"))?),
        ("empty sub", forge.signed(&with("sub", ""))?),
        ("sub of two lines", forge.signed(&with("sub", "a\nb"))?),
        ("unknown role", forge.signed(&with("role", "root"))?),
        ("no role", forge.signed(&without("role"))?),
        ("roles", forge.signed(&with("role", json!(["admin"])))?),
        ("truncated", good[..good.len() - 8].into()),
        ("signature stripped", format!("{body}.")),
        ("two parts", body.into()),
        ("four parts", format!("{good}.{signature}")),
        ("payload changed", format!("{head}.{}.{signature}", part(&with("sub", "other")))),
        ("not base64", format!("{head}.%%%.{signature}")),
        ("not JSON", format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("nonsense"))),
        ("nonsense", "nonsense".into()),
        ("dots", "..".into()),
        ("two tokens", format!("{good} {good}")),
        ("over-long", forge.signed(&with("padding", "x".repeat(5000)))?),
    ])
}

/// Checks that a refusal is a problem with its headers.
async fn refused(name: &str, request: reqwest::RequestBuilder) -> Result<()> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    ensure!(status == 401, "{name}: {status}");
    ensure!(headers["content-type"] == "application/problem+json", "{name}: not a problem");
    ensure!(headers.contains_key("www-authenticate"), "{name}: no challenge");
    let problem: Value = answer.json().await?;
    ensure!(problem["status"] == 401 && problem["code"].is_string(), "{name}: {problem}");
    Ok(())
}

#[tokio::test]
async fn a_forged_or_altered_token_is_refused() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let forge = Forge::of(&system).await?;
    let url = format!("{}/api/v1/works", system.url());
    let get = || system.http.get(&url);
    let good = forge.signed(&claims())?;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = get().header("Authorization", format!("{scheme} {good}")).send().await?;
        assert_eq!(answer.status(), 200, "what is forged differs from this in one thing only");
    }

    let corpus = corpus(&system, &forge)?;
    assert!(corpus.len() >= 20);
    for (name, token) in &corpus {
        refused(name, get().header("Authorization", format!("Bearer {token}"))).await?;
        // A second attempt is refused, too.
        refused(name, get().header("Authorization", format!("Bearer {token}"))).await?;
    }
    for (name, value) in [
        ("no token", "Bearer".to_owned()),
        ("an empty token", "Bearer ".into()),
        ("no scheme", good.clone()),
        ("another scheme", format!("Basic {good}")),
    ] {
        refused(name, get().header("Authorization", value)).await?;
    }
    refused("nothing", get()).await?;
    let twice = get().header("Authorization", format!("Bearer {good}"));
    refused("two headers", twice.header("Authorization", format!("Bearer {good}"))).await?;
    refused("in the query", system.http.get(format!("{url}?access_token={good}"))).await?;
    Ok(())
}

#[tokio::test]
async fn only_a_refresh_token_continues_a_session() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let forge = Forge::of(&system).await?;
    let url = format!("{}/api/v1/auth/refresh", system.url());
    let send = |token: &str| system.http.post(&url).json(&json!({"refresh_token": token}));
    let mut corpus = corpus(&system, &forge)?;
    // A token that is too long is refused before it is parsed.
    corpus.retain(|(_, token)| token.len() <= 4096);
    for (name, token) in &corpus {
        refused(name, send(token)).await?;
    }
    refused("an access token", send(&forge.signed(&claims())?)).await?;
    refused("empty", send("")).await?;
    let long = send(&"x".repeat(4097)).send().await?;
    assert_eq!(long.status(), 422);
    Ok(())
}

#[tokio::test]
async fn an_altered_refresh_token_is_refused() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let forge = Forge::of(&system).await?;
    let url = |path: &str| format!("{}/api/v1/{path}", system.url());
    let user = json!({"email": "a@example.org", "password": "long enough", "full_name": "Ada"});
    system.http.post(url("users")).json(&user).send().await?.error_for_status()?;
    let form = [("username", "a@example.org"), ("password", "long enough")];
    let answer = system.http.post(url("auth/login/access-token")).form(&form).send().await?;
    let tokens: Value = answer.error_for_status()?.json().await?;
    let payload = |name: &str| -> Result<Value> {
        let token = tokens[name].as_str().context("a token")?;
        let part = token.split('.').nth(1).context("a token has parts")?;
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    };
    let (access, claims) = (payload("access_token")?, payload("refresh_token")?);
    assert_eq!((&access["sid"], &access["sub"]), (&claims["sid"], &claims["sub"]));
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        forge.signed(&claims)
    };
    let send =
        |token: &str| system.http.post(url("auth/refresh")).json(&json!({"refresh_token": token}));
    for (name, token) in [
        ("aud of access tokens", with("aud", json!("tributary"))?),
        ("wrong iss", with("iss", json!("other"))?),
        ("expired", with("exp", json!(now()))?),
        ("exp as text", with("exp", json!((now() + 600).to_string()))?),
        ("holds later", with("nbf", json!(now() + 600))?),
        ("another user's", with("sub", json!(SUBJECT))?),
        ("another session", with("sid", json!(SUBJECT))?),
        ("a generation to come", with("generation", json!(1))?),
        ("no generation", with("generation", Value::Null)?),
        ("another key", jsonwebtoken::encode(&forge.header(), &claims, &another_key(&system)?.0)?),
        ("the access token", tokens["access_token"].as_str().unwrap_or_default().to_owned()),
    ] {
        refused(name, send(&token)).await?;
    }
    // No forged token ended the session: the genuine one works.
    assert_eq!(send(&forge.signed(&claims)?).send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn only_the_public_key_is_served() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let Forge { public, .. } = Forge::of(&system).await?;
    for (member, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig")] {
        assert_eq!(public[member], value);
    }
    assert!(public.get("d").is_none(), "the private key");
    let key: Jwk = serde_json::from_value(public)?;
    let checking = jsonwebtoken::DecodingKey::from_jwk(&key)?;
    let mut validation = jsonwebtoken::Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["tributary"]);
    let token = jsonwebtoken::decode::<Value>(&system.token, &checking, &validation)?;
    assert_eq!(token.header.kid, key.common.key_id, "the token names its key");
    Ok(())
}

#[tokio::test]
async fn the_signing_key_is_replaced_while_tokens_of_the_old_one_are_valid() -> Result<()> {
    let system = System::start().await?;
    let kids = async || -> Result<Vec<Value>> {
        let url = format!("{}/.well-known/jwks.json", system.url());
        let set: Value = system.http.get(url).send().await?.error_for_status()?.json().await?;
        let keys = set["keys"].as_array().context("keys")?;
        Ok(keys.iter().map(|key| key["kid"].clone()).collect())
    };
    let status = async |token: &str| -> Result<u16> {
        let answer = system.caller(token).get("/api/v1/works").send().await?;
        Ok(answer.status().as_u16())
    };
    let old_file = system.folder.join("signing.pem").display().to_string();
    let new_file = system.folder.join("new.pem").display().to_string();
    gateway::tokens::make_key(new_file.as_ref())?;
    let overlapping = |signing: &str, accepted: &str| {
        [("TRIBUTARY_SIGNING_KEY_FILE", signing), ("TRIBUTARY_ACCEPTED_KEY_FILE", accepted)]
            .map(|(name, file)| (name, file.to_owned()))
    };
    let serve = async |files: [(&'static str, String); 2]| {
        let files = files.each_ref().map(|(name, file)| (*name, file.as_str()));
        system.serve_with(&["http"], &files).await
    };
    let old = system.token.clone();
    let new = gateway::tokens::Keys::load(new_file.as_ref())?.sign(
        SUBJECT,
        domain::Role::Admin,
        std::time::Duration::from_mins(1),
    )?;

    let process = serve(overlapping(&old_file, &new_file)).await?;
    let both = kids().await?;
    assert_eq!(both.len(), 2);
    assert_eq!((status(&old).await?, status(&new).await?), (200, 200));
    process.terminate().await?;

    let process = serve(overlapping(&new_file, &old_file)).await?;
    assert_eq!(kids().await?, [both[1].clone(), both[0].clone()], "the key that signs is first");
    assert_eq!((status(&old).await?, status(&new).await?), (200, 200));
    process.terminate().await?;

    let _process = serve(overlapping(&new_file, &new_file)).await?;
    assert_eq!(kids().await?, [both[1].clone()]);
    assert_eq!((status(&old).await?, status(&new).await?), (401, 200));
    Ok(())
}
