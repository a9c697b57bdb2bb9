//! NUL characters, which Postgres cannot compare, in every place of a request, on every endpoint.

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tests::System;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::openapi::{filled, operations};

/// The path with a NUL character in one parameter, for each parameter.
fn with_nul(path: &str) -> Vec<String> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    names.map(|(name, _)| filled(&path.replace(&format!("{{{name}}}"), "a%00b"))).collect()
}

#[tokio::test]
async fn a_nul_character_is_400_on_every_endpoint() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let document = system.json("/openapi.json").await?;
    let cursor = URL_SAFE_NO_PAD.encode(r#"["a\u0000b","a\u0000b"]"#);
    let (mut requests, mut cursors, mut wrong) = (0, 0, Vec::new());
    for operation in operations(&document)? {
        let (name, path) = (operation.name(), operation.path());
        ensure!(!operation.described["responses"]["400"].is_null(), "{name} lacks 400");
        let mut targets = with_nul(&operation.template);
        targets.push(format!("{path}?name=%00"));
        if operation.has("cursor") {
            targets.push(format!("{path}?cursor={cursor}"));
            cursors += 1;
        }
        for target in targets {
            requests += 1;
            let answer = operation.request(&system, &target).send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            if status != 400 || problem["code"] != "nul_character" {
                wrong.push(format!("{name}: {target}: {status} {text}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {requests} requests: {wrong:#?}", wrong.len());
    ensure!(requests > 100 && cursors > 5, "{requests} requests, {cursors} cursors");
    Ok(())
}

/// A header is refused while it is parsed, before there is a request to respond to with a problem.
#[tokio::test]
async fn a_nul_character_in_a_header_is_400() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let address = system.url().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\nprefer: a\0b\r\n\r\n").await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    Ok(())
}
