//! Idempotency keys: every command of the `OpenAPI` document that accepts one. A key with another
//! target or another body is refused, never answered with the first response. A repetition gets the
//! first response whole, and what a command answers is what a query shows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::System;
use uuid::Uuid;

use crate::authorization::{MATRIX, World};
use crate::openapi::operations;

/// Commands that store no response under the key: a repetition finds the change in place.
const WITHOUT_RECEIPT: [&str; 1] = ["PUT /api/v1/users/me/password"];

/// The operations that accept an idempotency key.
fn commands(document: &Value) -> Result<Vec<String>> {
    let commands = operations(document)?.into_iter();
    Ok(commands
        .filter(|operation| operation.has("Idempotency-Key"))
        .map(|one| one.name())
        .collect())
}

/// What identifies a response: status, location, tag, position of the command's last event, problem
/// code; and whether it is a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: u16,
    location: Option<String>,
    tag: Option<String>,
    position: Option<String>,
    code: Option<String>,
    replayed: bool,
}

/// Sends `operation` as the administrator; as the owner, if the object is the owner's alone.
async fn send(world: &World, operation: &str, path: &str, body: &str, key: &str) -> Result<Answer> {
    let (method, _) = operation.split_once(' ').context("a method")?;
    let method: Method = method.parse()?;
    let caller = if operation.contains("/me/sessions/") { "owner" } else { "admin" };
    let mut request = world.of(caller).request(method, path).header("Idempotency-Key", key);
    if !body.is_empty() {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (location, tag) = (header("location"), header("etag"));
    let position = header("tributary-position");
    let replayed = header("idempotency-replayed").is_some_and(|value| value == "true");
    let problem: Value = serde_json::from_str(&response.text().await?).unwrap_or_default();
    let code = problem["code"].as_str().filter(|_| status >= 400).map(str::to_owned);
    Ok(Answer { status, location, tag, position, code, replayed })
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
    let expected = Answer { replayed: true, ..first.clone() };
    ensure!(!first.replayed && repeated == expected, "{path}: {first:?}, repeated {repeated:?}");

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

/// Commands that create something, with a body.
fn creations(project: &str, hat: &str) -> [(&'static str, Value); 7] {
    [
        (
            "/api/v1/users",
            json!({"email": "a@example.org", "password": "12345678", "full_name": "A"}),
        ),
        ("/api/v1/projects", json!({"name": "P"})),
        ("/api/v1/tasks", json!({"project_id": project, "title": "T"})),
        ("/api/v1/products", json!({"sku": "CAP", "name": "N", "price": "1", "currency": "EUR"})),
        ("/api/v1/orders", json!({"items": [{"product_id": hat, "quantity": 1}]})),
        ("/api/v1/works", json!({"add_up_to": 3})),
        ("/data", json!({"a": 1})),
    ]
}

#[tokio::test]
async fn what_a_command_answers_is_what_a_query_shows() -> Result<()> {
    let system = System::start().await?;
    // Without a worker, which would change orders and works.
    let _process = system.serve(&["http", "projector"]).await?;
    let admin = system.caller(&system.token);
    let hat = crate::orders::product(&admin, "HAT", "9.90", 5).await?;
    let body = json!({"name": "P"});
    let project = admin.command(Method::POST, "/api/v1/projects", &body).await?;
    let project = project["id"].as_str().context("an id")?;
    for (path, body) in creations(project, &hat) {
        let send = async || -> Result<(String, Value)> {
            let request = admin.post(path, &body).header("Prefer", "wait=20");
            let answer = request.header("Idempotency-Key", "once").send().await?;
            let location = answer.headers()["location"].to_str()?.to_owned();
            Ok((location, answer.error_for_status()?.json().await?))
        };
        let (location, answered) = send().await?;
        assert!(answered["created_at"].is_string(), "{answered}");
        assert_eq!(admin.json(&location).await?, answered, "{path}");
        assert_eq!(send().await?, (location, answered), "{path} repeated");
    }
    Ok(())
}
