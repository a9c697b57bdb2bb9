//! Content coding of requests, and the media type of responses.

use anyhow::Result;
use serde_json::{Value, json};
use tests::System;

/// `{"add_up_to": 4}` in gzip.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x4c\x49\x89\x2f\x2d\x88\x2f\
    \xc9\x57\xb2\x52\x30\xa9\x05\x00\x1f\x05\xcb\x52\x10\x00\x00\x00";

/// A Zstandard frame (RFC 8878) of blocks: each a header of 3 bytes and its content.
fn zstd(blocks: &[(u32, &[u8])]) -> Vec<u8> {
    // The magic number, and a window of 1 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50];
    for (index, (header, content)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend(&(header | last).to_le_bytes()[..3]);
        frame.extend(*content);
    }
    frame
}

fn zstd_raw(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("the content is short");
    zstd(&[(length << 3, content)])
}

/// A frame of 1 GiB of spaces in 32 KiB: 8,192 blocks that repeat one byte.
fn zstd_bomb() -> Vec<u8> {
    const REPEATED: u32 = 1 << 1;
    let header = ((128 * 1024) << 3) | REPEATED;
    zstd(&vec![(header, &b" "[..]); 8 * 1024])
}

/// A Brotli stream (RFC 7932) of one block that is not compressed.
fn brotli(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() - 1).expect("the content is short");
    let header = (length << 4) | (1 << 20);
    [&header.to_le_bytes()[..3], content, b"\x03"].concat()
}

#[tokio::test]
async fn compressed_bodies_are_decoded_within_the_limit() -> Result<()> {
    let system = System::start().await?;
    let process = system.serve(&["http"]).await?;
    let send = async |encoding: &str, body: Vec<u8>| -> Result<(u16, Option<String>, Value)> {
        let url = format!("{}/api/v1/works", system.url());
        let request = system.http.post(url).bearer_auth(&system.token);
        let request = request.header("Content-Type", "application/json");
        let answer = request.header("Content-Encoding", encoding).body(body).send().await?;
        let accepted = answer.headers().get("accept-encoding").cloned();
        let accepted = accepted.map(|value| value.to_str().unwrap_or_default().to_owned());
        Ok((answer.status().as_u16(), accepted, answer.json().await?))
    };
    let plain = br#"{"add_up_to": 4}"#;
    for (encoding, body) in [
        ("identity", plain.to_vec()),
        ("gzip", GZIP.to_vec()),
        ("GZip", GZIP.to_vec()),
        ("x-gzip", GZIP.to_vec()),
        ("br", brotli(plain)),
        ("zstd", zstd_raw(plain)),
    ] {
        let (status, _, work) = send(encoding, body).await?;
        assert_eq!((status, &work["add_up_to"]), (202, &json!(4)), "{encoding}: {work}");
    }
    for encoding in ["deflate", "nonsense", "gzip, br"] {
        let (status, accepted, problem) = send(encoding, plain.to_vec()).await?;
        assert_eq!((status, &problem["code"]), (415, &json!("unsupported_content_encoding")));
        let accepted = accepted.unwrap_or_default();
        assert!(["gzip", "br", "zstd"].iter().all(|name| accepted.contains(name)), "{accepted}");
    }
    let (status, _, problem) = send("gzip", plain.to_vec()).await?;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_request")), "not gzip");

    let before = process.resident()?;
    let (status, _, problem) = send("zstd", zstd_bomb()).await?;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")), "{problem}");
    let grown = process.resident()?.saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "1 GiB was decoded to {grown} bytes");

    // A repetition is the same request, compressed or not.
    let keyed = async |encoding: &str, body: Vec<u8>| -> Result<Value> {
        let url = format!("{}/api/v1/works", system.url());
        let request = system.http.post(url).bearer_auth(&system.token).body(body);
        let request = request.header("Content-Type", "application/json");
        let request = request.header("Content-Encoding", encoding).header("Idempotency-Key", "k");
        Ok(request.send().await?.error_for_status()?.json().await?)
    };
    assert_eq!(keyed("gzip", GZIP.to_vec()).await?, keyed("identity", plain.to_vec()).await?);
    Ok(())
}

#[tokio::test]
async fn the_format_of_readings_follows_the_quality_in_accept() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let caller = system.caller(&system.token);
    let reading = json!([{"user_id": "ada", "device_id": "d", "sequence_id": 1}]);
    caller.command(reqwest::Method::POST, "/api/v1/telemetry", &reading).await?;
    let path = "/api/v1/users/ada/devices/d/readings";
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("TEXT/CSV", "text/csv; charset=utf-8"),
        ("text/csv;q=0", "application/json"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("application/json;q=0.1, text/csv;q=0.2", "text/csv; charset=utf-8"),
        ("text/html", "application/json"),
    ] {
        let answer = caller.get(path).header("Accept", accept).send().await?.error_for_status()?;
        assert_eq!(answer.headers()["content-type"], kind, "{accept}");
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert!(vary.iter().any(|value| *value == "accept"), "{accept}: {vary:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_request_is_found_in_the_log_by_its_id() -> Result<()> {
    let system = System::start().await?;
    let mut process = system.serve_with(&["http"], &[("HTTP_LOG_REFUSALS", "4")]).await?;
    let refused = async |id: &str, path: &str| -> Result<(String, String)> {
        let request = system.get(path).header("X-Request-Id", id);
        let answer = request.send().await?;
        let id = answer.headers()["x-request-id"].to_str()?.to_owned();
        let problem: Value = answer.json().await?;
        Ok((id, problem["trace_id"].as_str().unwrap_or_default().to_owned()))
    };
    for (sent, path, status) in [
        ("mine-1", "/nowhere", 404),
        ("mine-2", "/api/v1/works?limit=0", 422),
        ("mine-3", "/api/v1/streams/x", 404),
    ] {
        let (id, trace_id) = refused(sent, path).await?;
        assert_eq!(id, sent);
        process.logs(&format!("request_id=\"{sent}\" trace_id=\"{trace_id}\"")).await?;
        let log = process.log();
        let line = log.lines().find(|line| line.contains(sent)).unwrap_or_default();
        assert!(line.contains("INFO") && line.contains(&format!("status={status}")), "{line}");
    }
    let (id, trace_id) = refused("not an id", "/nowhere").await?;
    assert_eq!(id, trace_id, "an id with spaces is replaced");
    // The quota is used up: an attacker cannot fill the log.
    for _ in 0..20 {
        refused("flood", "/nowhere").await?;
    }
    let log = process.log();
    let lines = log.lines().filter(|line| line.contains("flood")).count();
    assert!(lines <= 4, "{lines} lines");
    let answer = system.get("/api/v1/users/me").header("X-Request-Id", "kept").send().await?;
    assert_eq!(answer.headers()["x-request-id"], "kept");
    Ok(())
}
