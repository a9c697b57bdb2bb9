//! HTTPS: HAProxy with the configuration of `deploy/haproxy`, a certificate of a private CA, and two HTTP
//! processes behind it.

use std::fs::write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use devservers::testing;
use futures::StreamExt;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::{Authority, DEADLINE, System, eventually};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cli_contexts::Person;
use crate::tls::HOST;

const CONFIGURATION: &str = include_str!("../../../deploy/haproxy/haproxy.cfg");
const PASSWORD: &str = "correct horse battery";
const EMAIL: &str = "ada@example.org";
/// Attempts to sign in that one address has.
const SIGN_INS: &str = "5";

/// A running HAProxy, killed when it is dropped.
pub(crate) struct Proxy {
    _process: Child,
    pub(crate) ca: PathBuf,
    pub(crate) https: String,
    plain: String,
}

impl Proxy {
    /// Starts in `folder` in front of the HTTP processes on `ports`.
    pub(crate) async fn start(folder: &Path, ports: [u16; 2]) -> Result<Self> {
        let authority = Authority::create(folder.join("authority")).await?;
        let certificate = authority.issue("proxy", HOST).await?;
        let pem = folder.join("proxy.pem");
        let parts = [&certificate.file, &certificate.key].map(std::fs::read_to_string);
        let [chain, key] = parts;
        write(&pem, format!("{}{}", chain?, key?))?;
        let (tls, plain) = (testing::free_port()?, testing::free_port()?);
        let file = folder.join("haproxy.cfg");
        write(&file, configuration(tls, plain, &pem, ports)?)?;
        // The path of an ordinary user lacks the directories of servers.
        let process = Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/sbin:/usr/local/sbin exec haproxy -db -f \"$0\""])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let [https, plain] = [("https", tls), ("http", plain)]
            .map(|(scheme, port)| format!("{scheme}://127.0.0.1:{port}"));
        Ok(Self { _process: process, ca: authority.file(), https, plain })
    }

    /// Returns a client that trusts the CA, at `address` of the loopback network.
    fn client(&self, address: [u8; 4]) -> Result<Client> {
        let builder = client::http(Some(&std::fs::read(&self.ca)?))?;
        Ok(builder.local_address(IpAddr::V4(Ipv4Addr::from(address))).build()?)
    }
}

/// The configuration as it ships, with the addresses of this test in place of those of containers.
fn configuration(tls: u16, plain: u16, pem: &Path, ports: [u16; 2]) -> Result<String> {
    let mut text = CONFIGURATION.to_owned();
    let binds = format!(
        "    bind 127.0.0.1:{plain}\n    bind 127.0.0.1:{tls} ssl crt {} alpn h2,http/1.1\n",
        pem.display()
    );
    let resolvers = text.find("resolvers containers").zip(text.find("frontend api"));
    let resolvers = resolvers.and_then(|(start, end)| text.get(start..end)).context("a section")?;
    for (old, new) in [
        (resolvers.to_owned(), String::new()),
        ("    user haproxy\n    group haproxy\n".into(), String::new()),
        ("    default-server resolvers containers init-addr libc,none\n".into(), String::new()),
        ("    bind :8080\n".into(), binds),
        ("server http http:8080".into(), format!("server http 127.0.0.1:{}", ports[0])),
        ("server http-2 http-2:8080".into(), format!("server http-2 127.0.0.1:{}", ports[1])),
    ] {
        ensure!(text.matches(&old).count() == 1, "{old:?} is in the configuration once");
        text = text.replace(&old, &new);
    }
    Ok(text)
}

#[tokio::test]
async fn clients_over_https_reach_two_processes_behind_a_proxy() -> Result<()> {
    let system = System::start().await?;
    let options = [
        ("TRUSTED_PROXIES", "127.0.0.1/32"),
        ("RATE_LIMIT_SIGN_INS_ADDRESS", SIGN_INS),
        ("PORT", "0"),
    ];
    let mut first = system.serve_with(&["http", "projector"], &options).await?;
    let mut second = system.serve_with(&["http"], &options).await?;
    let ports = [first.http_port().await?, second.http_port().await?];
    let proxy = Proxy::start(&system.folder, ports).await?;
    let ada = proxy.client([127, 0, 0, 2])?;
    let https = |path: &str| format!("{}{path}", proxy.https);
    eventually("the proxy finds a process ready", async || {
        let ready = ada.get(https("/readyz")).send().await;
        Ok(ready.is_ok_and(|ready| ready.status() == 200))
    })
    .await?;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--http2", "--output", "/dev/null", "--write-out", "%{http_version}"]);
    let http2 = curl.arg("--cacert").arg(&proxy.ca).arg(https("/livez")).output().await?;
    assert_eq!(String::from_utf8_lossy(&http2.stdout), "2", "{http2:?}");

    // The scheme is that of the client's connection, whatever the client says.
    let encrypted = ada.get(https("/livez")).header("X-Forwarded-Proto", "http").send().await?;
    ensure!(encrypted.headers().contains_key("strict-transport-security"), "{encrypted:?}");
    let plain = ada.get(format!("{}/livez", proxy.plain)).header("X-Forwarded-Proto", "https");
    let plain = plain.send().await?;
    ensure!(!plain.headers().contains_key("strict-transport-security"), "{plain:?}");
    let strict = client::http(None)?.build()?.get(https("/livez")).send().await;
    ensure!(strict.is_err_and(|error| error.is_connect()), "another CA is not trusted");

    // A session of the console: its cookie is sent over TLS only.
    let registration = json!({"email": EMAIL, "password": PASSWORD, "full_name": "Ada"});
    let registered = ada.post(https("/api/v1/users")).json(&registration).send().await?;
    ensure!(registered.status() == 201, "{}", registered.text().await?);
    let session = json!({"username": EMAIL, "password": PASSWORD});
    let begin = ada.post(https("/api/v1/auth/session")).header("Tributary-Console", "1");
    let begun = begin.json(&session).send().await?;
    ensure!(begun.status() == 200, "{}", begun.text().await?);
    let cookie = begun.headers()["set-cookie"].to_str()?;
    for attribute in ["Secure", "HttpOnly", "SameSite=Strict"] {
        ensure!(cookie.split("; ").any(|part| part == attribute), "{cookie}");
    }

    // Limits apply to clients and not to the proxy, and a client cannot choose its address.
    let attempt = async |client: &Client, claimed: u8| -> Result<u16> {
        let form = [("username", format!("user-{claimed}")), ("password", PASSWORD.to_owned())];
        let request = client.post(https("/api/v1/auth/login/access-token")).form(&form);
        let forged = request.header("X-Forwarded-For", format!("192.0.2.{claimed}"));
        Ok(forged.send().await?.status().as_u16())
    };
    let mallory = proxy.client([127, 0, 0, 3])?;
    let mut answers = Vec::new();
    // Each process counts for itself, and admits a further attempt every 12 s.
    while answers.last() != Some(&429) && answers.len() < 100 {
        answers.push(attempt(&mallory, u8::try_from(answers.len())?).await?);
    }
    ensure!(answers.last() == Some(&429) && answers.first() == Some(&401), "{answers:?}");
    assert_eq!(attempt(&ada, 0).await?, 401, "another client has a limit of its own");

    // An event arrives while its stream is open: the proxy does not collect the response.
    let stream = ada.get(https("/api/v1/events/stream")).bearer_auth(&system.token).send().await?;
    let mut events = stream.error_for_status()?.bytes_stream();
    let over_https = system.caller(&system.token).at(&proxy.https).with(ada.clone());
    let work = json!({"add_up_to": 4});
    let demanded = over_https.command(Method::POST, "/api/v1/works", &work).await?;
    let id = demanded["id"].as_str().context("an id")?;
    let mut received = String::new();
    timeout(DEADLINE, async {
        while !received.contains(id) {
            received += &String::from_utf8_lossy(&events.next().await.context("it is open")??);
        }
        anyhow::Ok(())
    })
    .await??;
    drop(events);

    // The command line, with the file of the CA and with the context that keeps its path.
    let person = Person { home: system.folder.join("config") };
    let password = system.folder.join("password");
    write(&password, format!("{PASSWORD}\n"))?;
    let (password, ca) = (password.display().to_string(), proxy.ca.display().to_string());
    let login = ["login", "--email", EMAIL, "--password-file", &password, "--url", &proxy.https];
    let (_, refused) = person.refused(&login).await?;
    ensure!(refused.contains("invalid peer certificate"), "{refused}");
    ensure!(refused.ends_with("; check --ca-file\n"), "{refused}");
    let wrong = [&login[..], &["--ca-file", &password]].concat();
    let (_, refused) = person.refused(&wrong).await?;
    ensure!(refused.contains(&format!("--ca-file (TRIBUTARY_CA_FILE): {password}")), "{refused}");
    ensure!(refused.contains("no usable certificate"), "{refused}");
    let missing = [&login[..], &["--ca-file", "/none"]].concat();
    let (_, refused) = person.refused(&missing).await?;
    ensure!(refused.contains("--ca-file (TRIBUTARY_CA_FILE): cannot read /none"), "{refused}");
    person.run(&[&login[..], &["--ca-file", &ca]].concat()).await?;
    person.run(&["devices", "list"]).await?;
    // The CA in the environment is of another server than the context on the command line.
    let name = proxy.https.trim_start_matches("https://");
    let mut elsewhere = person.command(&["devices", "list", "--context", name]);
    let listed = elsewhere.env("TRIBUTARY_CA_FILE", &password).output().await?;
    ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    // A further login keeps the CA of the same server, and does not take it to another one.
    person.run(&login).await?;
    person.run(&[&login[..6], &[proxy.plain.as_str(), "--context", name]].concat()).await?;
    let (_, refused) = person.refused(&[&login[..], &["--context", name]].concat()).await?;
    ensure!(refused.contains("invalid peer certificate"), "{refused}");
    person.run(&[&login[..], &["--ca-file", &ca]].concat()).await?;
    let with = ["--ca-file", &ca, "--url", &proxy.https, "--token", &system.token];
    let works: Value = serde_json::from_str(
        &person.run(&[&["works", "list", "-o", "json"], &with[..]].concat()).await?,
    )?;
    ensure!(works.to_string().contains(id), "{works}");
    person.run(&["logout"]).await?;

    // One process is killed: the other one answers, and the client notices nothing.
    second.kill().await?;
    for _ in 0..20 {
        over_https.json("/api/v1/works").await?;
    }
    ensure!(first.terminate().await? == Some(0), "it stops");
    Ok(())
}
