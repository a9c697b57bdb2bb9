//! Idempotency keys: every command of the `OpenAPI` document that accepts one. A key with another
//! target or another body is refused, never answered with the first response.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use tests::System;
use uuid::Uuid;

use crate::authorization::{MATRIX, World};

/// Commands that store no response under the key: a repetition finds the change in place.
const WITHOUT_RECEIPT: [&str; 1] = ["PUT /api/v1/users/me/password"];

/// The operations that accept an idempotency key.
fn commands(document: &Value) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for (method, operation) in item.as_object().context("operations")? {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            if parameters.any(|parameter| parameter["name"] == "Idempotency-Key") {
                commands.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    Ok(commands)
}

/// What identifies a response: status, location, position of the command's last event, problem code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    location: Option<String>,
    position: Option<String>,
    code: Option<String>,
}

/// Sends `operation` as the administrator.
async fn send(world: &World, operation: &str, path: &str, body: &str, key: &str) -> Result<Answer> {
    let (method, _) = operation.split_once(' ').context("a method")?;
    let method: Method = method.parse()?;
    let mut request = world.of("admin").request(method, path).header("Idempotency-Key", key);
    if !body.is_empty() {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (location, position) = (header("location"), header("tributary-position"));
    let problem: Value = serde_json::from_str(&response.text().await?).unwrap_or_default();
    let code = problem["code"].as_str().filter(|_| status >= 400).map(str::to_owned);
    Ok(Answer { status, location, position, code })
}

/// The path of another object that the same command applies to; none if the path names no object.
async fn another(world: &World, operation: &str, template: &str) -> Result<Option<String>> {
    if !template.contains('{') {
        return Ok(None);
    }
    let template = match template {
        "/api/v1/alerts/{id}/acknowledge" => template.replace("{id}", &world.alert("e").await?),
        _ if template.contains("/members/") => template.to_owned(),
        _ => template.replace("{user_id}", &world.member_id).replace("{name}", "another"),
    };
    world.fill(operation, &template).await.map(Some)
}

async fn check(world: &World, operation: &str, body: &str) -> Result<()> {
    let (_, template) = operation.split_once(' ').context("a path")?;
    let path = world.fill(operation, template).await?;
    let body = world.fill(operation, body).await?;
    let key = Uuid::now_v7().to_string();
    let first = send(world, operation, &path, &body, &key).await?;
    ensure!((200..300).contains(&first.status), "{path}: {first:?}");
    if WITHOUT_RECEIPT.contains(&operation) {
        return Ok(());
    }
    let repeated = send(world, operation, &path, &body, &key).await?;
    ensure!(repeated == first, "{path}: {first:?}, repeated {repeated:?}");

    let query = if path == "/data" { "schema=known" } else { "other=1" };
    let mut others = vec![(format!("{path}?{query}"), body.clone())];
    others.extend(another(world, operation, template).await?.map(|path| (path, body.clone())));
    if !body.is_empty() {
        // Of a registration, the fingerprint holds the e-mail address and the name only.
        others.push((path, format!("{} ", body.replace(r#""A""#, r#""B""#))));
    }
    for (path, body) in others {
        let other = send(world, operation, &path, &body, &key).await?;
        let refused = other.code.as_deref() == Some("idempotency_key_reused");
        ensure!(refused && other.status == 422, "{path} {body}: {other:?} after {first:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_with_another_target_or_body_is_refused_by_every_command() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let commands = commands(&system.json("/openapi.json").await?)?;
    ensure!(commands.len() > 20, "{commands:?}");
    let world = World::new(system).await?;
    let mut wrong = BTreeMap::new();
    for operation in &commands {
        let listed = MATRIX.iter().find(|(known, ..)| known == operation);
        let (_, body, _) = listed.with_context(|| format!("{operation} is not in the matrix"))?;
        // What changes nothing appends nothing, and has no receipt.
        let rules = r#"{"rules": [{"key": "x", "operator": ">", "threshold": 1}]}"#;
        let body = if *operation == "PUT /api/v1/config" { rules } else { body };
        if let Err(error) = check(&world, operation, body).await {
            wrong.insert(operation, format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
