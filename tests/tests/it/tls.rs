//! Postgres and NATS that demand TLS, certificates and credentials: the right options connect, and
//! each wrong one is named in one sentence.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use devservers::{Nats, Postgres, nats, postgres, testing};
use nkeys::KeyPair;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tests::{Authority, Certificate, System, eventually};

use crate::owner::attempt;

/// The name in the certificates of the servers; `localhost` is none.
pub(crate) const HOST: &str = "IP:127.0.0.1";

/// A password that a URL cannot hold as it is.
pub(crate) const PASSWORD: &str = "s3cr@t/#%$";

type Variables<'a> = [(&'a str, &'a str)];

/// Starts a Postgres with a certificate of `authority`, whose clients `clientcert` admits.
pub(crate) async fn postgres_with(
    authority: &Authority,
    certificate: &Certificate,
) -> Result<Postgres> {
    let tls = postgres::Tls {
        certificate: std::fs::read_to_string(&certificate.file)?,
        key: std::fs::read_to_string(&certificate.key)?,
        client_ca: std::fs::read_to_string(authority.file())?,
    };
    let options =
        postgres::Options { durable: false, tls: Some(tls), ..postgres::Options::default() };
    Ok(Postgres::start(&testing::directory("postgres-tls")?, options).await?)
}

/// Writes `pg_hba.conf`: what `rules` say, and the superuser without a password.
pub(crate) async fn admit(postgres: &Postgres, rules: &str) -> Result<()> {
    let file = postgres.directory().join("cluster/pg_hba.conf");
    std::fs::write(file, format!("host all postgres 127.0.0.1/32 trust\n{rules}"))?;
    let mut superuser = PgConnection::connect(&postgres.admin_url()).await?;
    superuser.execute("select pg_reload_conf()").await?;
    Ok(superuser.close().await?)
}

/// Writes a file in the folder of the test. Returns its path.
pub(crate) fn file(folder: &std::path::Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn shown(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Runs a command, which must fail with `sentence`, and must not show the password.
async fn fails(arguments: &[&str], environment: &Variables<'_>, sentence: &str) -> Result<()> {
    let (code, errors) = attempt(arguments, environment).await?;
    ensure!(code != Some(0), "{environment:?} succeeded");
    ensure!(errors.contains(sentence), "{environment:?}: not {sentence:?}: {errors}");
    ensure!(!errors.contains(PASSWORD), "{environment:?}: {errors}");
    Ok(())
}

#[tokio::test]
async fn postgres_over_tls_only_and_each_wrong_option_is_named() -> Result<()> {
    let folder = testing::directory("tls")?;
    let authority = Authority::create(folder.join("ours")).await?;
    let other = Authority::create(folder.join("other")).await?;
    let server = postgres_with(&authority, &authority.issue("server", HOST).await?).await?;
    let system = System::start_on(server).await?;
    let server = system.postgres.as_ref().context("its own")?;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    system
        .admin
        .execute(format!("alter role tributary_app password '{PASSWORD}'").as_str())
        .await?;
    admit(server, "hostssl all tributary_app 127.0.0.1/32 scram-sha-256\n").await?;

    let on = |host: &str, more: &str| {
        format!("postgres://tributary_app@{host}:{}/{database}{more}", server.port())
    };
    let (url, ca, other_ca) = (on("127.0.0.1", ""), shown(&authority.file()), shown(&other.file()));
    let password = file(&folder, "password", PASSWORD)?;
    let password = ("DATABASE_PASSWORD_FILE", password.as_str());
    let ca = ("DATABASE_CA_FILE", ca.as_str());
    let url = ("DATABASE_URL", url.as_str());
    let (code, errors) = attempt(&["verify"], &[url, password, ca]).await?;
    assert_eq!(code, Some(0), "{errors}");

    let unknown = "issued by an unknown CA: set --database-ca-file";
    let refused =
        "Postgres refused the role or its password: check the URL, and --database-password";
    let wrong = ("DATABASE_PASSWORD", "wr0ng");
    for (host, mode, more, sentence) in [
        ("127.0.0.1", "?sslmode=disable", &[password] as &Variables<'_>, "over TLS only"),
        ("127.0.0.1", "?sslmode=disable", &[password, ca], "set sslmode=verify-full"),
        ("127.0.0.1", "?sslmode=verify-full", &[password], unknown),
        ("127.0.0.1", "", &[password, ("DATABASE_CA_FILE", other_ca.as_str())], unknown),
        ("localhost", "", &[password, ca], "is for another host name"),
        ("127.0.0.1", "", &[ca], refused),
        ("127.0.0.1", "", &[ca, wrong], refused),
        ("127.0.0.1", "", &[password, ("DATABASE_CA_FILE", "/none")], "cannot read /none"),
        ("127.0.0.1", "", &[password, ca, ("DATABASE_CERT_FILE", "x")], "must be set together"),
    ] {
        let url = on(host, mode);
        let environment = [&[("DATABASE_URL", url.as_str())][..], more].concat();
        fails(&["verify"], &environment, sentence).await?;
    }
    let plain = testing::shared_postgres().await?.url("postgres", "tributary_app");
    fails(&["verify"], &[("DATABASE_URL", plain.as_str()), ca], "Postgres does not offer TLS")
        .await?;

    // A role that needs a client certificate besides its password.
    admit(server, "hostssl all tributary_app 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n")
        .await?;
    let demands = "Postgres demands a client certificate";
    fails(&["verify"], &[url, password, ca], demands).await?;
    for (authority, accepted) in [(&other, false), (&authority, true)] {
        let client = authority.issue("client", "DNS:client").await?;
        let (certificate, key) = (shown(&client.file), shown(&client.key));
        let client = [("DATABASE_CERT_FILE", &*certificate), ("DATABASE_KEY_FILE", &*key)];
        let environment = [&[url, password, ca][..], &client].concat();
        if accepted {
            let (code, errors) = attempt(&["verify"], &environment).await?;
            assert_eq!(code, Some(0), "{errors}");
        } else {
            fails(&["verify"], &environment, demands).await?;
        }
    }
    admit(server, "host all all 127.0.0.1/32 trust\n").await
}

/// Starts a nats-server with a certificate, and the options of TLS in `more`.
pub(crate) async fn nats_with(
    certificate: &Certificate,
    more: &str,
    accounts: Option<String>,
) -> Result<Nats> {
    let Certificate { file, key } = certificate;
    let more = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", {more} }}\n",
        file.display(),
        key.display()
    );
    let options =
        nats::Options { more, accounts, anonymous_admin: false, ..testing::nats_options() };
    Ok(Nats::start(&testing::directory("nats-tls")?, options).await?)
}

/// Returns a JWT of NATS: `claims` about `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> Result<String> {
    let claims = json!({
        "jti": "x", "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": claims,
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let [header, claims] =
        [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// Returns the configuration of a nats-server in operator mode, and a credentials file of a user.
fn operator_mode() -> Result<(String, String)> {
    let operator = KeyPair::new_operator();
    let (system, account, user) =
        (KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let without_streams = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let of = |limits: Value| json!({"type": "account", "version": 2, "limits": limits});
    let accounts = format!(
        "operator: \"{}\"\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{\n {system}: \"{}\"\n {account}: \"{}\"\n}}\n",
        jwt(&operator, &operator, &json!({"type": "operator", "version": 2}))?,
        jwt(&operator, &system, &of(without_streams))?,
        jwt(&operator, &account, &of(limits))?,
        system = system.public_key(),
        account = account.public_key(),
    );
    let claims = json!({
        "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
    });
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(&account, &user, &claims)?,
        user.seed()?,
    );
    Ok((accounts, credentials))
}

#[tokio::test]
async fn each_kind_of_account_on_nats_works_over_tls() -> Result<()> {
    let system = System::start().await?;
    let authority = Authority::create(system.folder.join("authority")).await?;
    let certificate = authority.issue("server", HOST).await?;
    let client = authority.issue("client", "DNS:client").await?;
    let user = KeyPair::new_user();
    let (operators, credentials) = operator_mode()?;
    let nkeys = format!(
        "authorization {{ users = [{{nkey: {}, permissions: {{publish: \">\", \
         subscribe: [\"log.head\", \"_INBOX.own.>\"]}}}}] }}\n",
        user.public_key()
    );
    let verify = format!("ca_file: \"{}\", verify: true", authority.file().display());
    let secrets = ["token", "nkey", "credentials", "password"].map(|name| system.folder.join(name));
    let path = |file: &PathBuf| shown(file);
    let token = format!("authorization {{ token: \"{PASSWORD}\" }}\n");
    std::fs::write(&secrets[0], PASSWORD)?;
    std::fs::write(&secrets[1], format!("{}\n", user.seed()?))?;
    std::fs::write(&secrets[2], credentials)?;
    let kinds = [
        ("user and password in the URL", "", None),
        ("client certificate and password in a file", verify.as_str(), None),
        ("token", "", Some(token)),
        ("NKey", "", Some(nkeys)),
        ("credentials", "", Some(operators)),
    ];
    for (expected, (kind, tls, accounts)) in (1..).zip(kinds) {
        let nats = nats_with(&certificate, tls, accounts).await?;
        let mut url = format!("tls://127.0.0.1:{}", nats.port());
        let mut more = vec![("NATS_CA_FILE", path(&authority.file()))];
        match kind {
            "token" => more.push(("NATS_TOKEN_FILE", path(&secrets[0]))),
            "NKey" => {
                more.push(("NATS_CREDS_FILE", path(&secrets[1])));
                more.push(("NATS_INBOX_PREFIX", "_INBOX.own".to_owned()));
            }
            "credentials" => more.push(("NATS_CREDS_FILE", path(&secrets[2]))),
            "user and password in the URL" => url = nats.url_as("tributary"),
            _ => {
                std::fs::write(&secrets[3], nats.password_of("tributary"))?;
                more.push(("NATS_USERNAME", "tributary".to_owned()));
                more.push(("NATS_PASSWORD_FILE", path(&secrets[3])));
                more.push(("NATS_CERT_FILE", path(&client.file)));
                more.push(("NATS_KEY_FILE", path(&client.key)));
            }
        }
        more.push(("NATS_URL", url));
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let process = system.serve_with(&["worker"], &more).await?;
        let produce = ["works", "produce", "--every", "1ms", "--count", "1", "--add-up-to", "1"];
        let (code, errors) = attempt(&produce, &more).await?;
        assert_eq!(code, Some(0), "{kind}: {errors}");
        eventually(&format!("the worker receives the demand: {kind}"), async || {
            let demanded = "select count(*) from log.event where event_type = 'work_demanded'";
            Ok(system.number(demanded).await? == expected)
        })
        .await?;
        process.kill().await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_wrong_option_of_nats_is_named() -> Result<()> {
    let system = System::start().await?;
    let ours = Authority::create(system.folder.join("ours")).await?;
    let other = Authority::create(system.folder.join("other")).await?;
    let client = ours.issue("client", "DNS:client").await?;
    let verify = format!("ca_file: \"{}\", verify: true", ours.file().display());
    let nats = nats_with(&ours.issue("server", HOST).await?, &verify, None).await?;
    let (ca, other_ca) = (shown(&ours.file()), shown(&other.file()));
    let ca = ("NATS_CA_FILE", ca.as_str());
    let (certificate, key) = (shown(&client.file), shown(&client.key));
    let (certificate, key) = (("NATS_CERT_FILE", &*certificate), ("NATS_KEY_FILE", &*key));
    let name = ("NATS_USERNAME", "tributary");
    let wrong = ("NATS_PASSWORD", PASSWORD);
    let right = nats.password_of("tributary");
    let right = ("NATS_PASSWORD", right.as_str());
    let none = file(&system.folder, "none", "hunter2\n")?;
    let produce = ["works", "produce", "--count", "1"];
    let url = |host: &str| format!("nats://{host}:{}", nats.port());
    let unknown = "the certificate of NATS was issued by an unknown CA: set --nats-ca-file";
    let demands = "NATS demands a client certificate of a CA that it trusts: set --nats-cert-file";
    let refused = "NATS refused the account, or demands one: check --nats-username";
    for (host, more, sentence) in [
        ("127.0.0.1", &[name, right, certificate, key] as &Variables<'_>, unknown),
        (
            "127.0.0.1",
            &[name, right, certificate, key, ("NATS_CA_FILE", other_ca.as_str())],
            unknown,
        ),
        ("localhost", &[name, right, certificate, key, ca], "is for another host name"),
        ("127.0.0.1", &[name, right, ca], demands),
        ("127.0.0.1", &[name, wrong, ca, certificate, key], refused),
        ("127.0.0.1", &[ca, certificate, key], refused),
        (
            "127.0.0.1",
            &[("NATS_CREDS_FILE", none.as_str())],
            "must contain a user JWT and its NKey seed",
        ),
    ] {
        let url = url(host);
        fails(&produce, &[more, &[("NATS_URL", url.as_str())]].concat(), sentence).await?;
        // A process that retries for ever says the same in its log.
        if host == "127.0.0.1" && !sentence.contains("JWT") {
            let more = [more, &[("NATS_URL", url.as_str()), ("PORT", "0")]].concat();
            let mut process = system.serve_with(&["http"], &more).await?;
            process.logs(sentence).await?;
            ensure!(!process.log().contains(PASSWORD), "{}", process.log());
            process.kill().await?;
        }
    }
    // A server without TLS.
    let plain = system.nats.url_as("tributary").replace("nats://", "tls://");
    fails(&produce, &[("NATS_URL", plain.as_str())], "NATS does not offer TLS").await?;
    let plain = system.nats.url_as("tributary");
    let require = ("NATS_REQUIRE_TLS", "true");
    fails(&produce, &[("NATS_URL", plain.as_str()), require], "NATS does not offer TLS").await
}
