//! Authorization: every operation of the `OpenAPI` document by every kind of caller, on an object
//! that belongs to one of them. An operation that is not in the matrix fails the test.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Caller, System, eventually};
use uuid::Uuid;

use crate::openapi;

/// The expected response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// A status of success.
    Yes,
    /// 401.
    WhoAreYou,
    /// 403.
    No,
    /// 404: the object belongs to another user.
    Nothing,
}
use Says::{No, Nothing, WhoAreYou, Yes};

const CALLERS: [&str; 6] = ["anonymous", "other", "member", "owner", "operator", "admin"];

const ANYBODY: [Says; 6] = [Yes; 6];
/// No caller has what the operation needs: a code that `dev` issued.
const UNKNOWN: [Says; 6] = [WhoAreYou; 6];
const SIGNED_IN: [Says; 6] = [WhoAreYou, Yes, Yes, Yes, Yes, Yes];
const OPERATORS: [Says; 6] = [WhoAreYou, No, No, No, Yes, Yes];
const ADMINS: [Says; 6] = [WhoAreYou, No, No, No, No, Yes];
/// The owner, operators and administrators.
const OWN: [Says; 6] = [WhoAreYou, Nothing, Nothing, Yes, Yes, Yes];
/// The user and administrators.
const ONESELF: [Says; 6] = [WhoAreYou, Nothing, Nothing, Yes, Nothing, Yes];
/// The owner alone: not even an administrator.
const OWN_ONLY: [Says; 6] = [WhoAreYou, Nothing, Nothing, Yes, Nothing, Nothing];
/// Members of the project may read.
const MEMBERS_SEE: [Says; 6] = [WhoAreYou, Nothing, Yes, Yes, Yes, Yes];
/// Members of the project may change. An operator may read, but not change.
const MEMBERS_DO: [Says; 6] = [WhoAreYou, Nothing, Yes, Yes, No, Yes];
/// The owner of the project may change.
const OWNER_DOES: [Says; 6] = [WhoAreYou, Nothing, No, Yes, No, Yes];

/// Operation, body, and the response to each of [`CALLERS`]. Each call gets new objects for `{…}`.
#[rustfmt::skip]
pub(crate) const MATRIX: &[(&str, &str, [Says; 6])] = &[
    ("POST /api/v1/users", r#"{"email": "{email}", "password": "correct horse battery", "full_name": "A"}"#, ANYBODY),
    ("GET /api/v1/users", "", ADMINS),
    ("GET /api/v1/users/me", "", SIGNED_IN),
    ("GET /api/v1/users/{id}", "", ONESELF),
    ("PUT /api/v1/users/me/password", r#"{"current_password": "correct horse battery", "new_password": "correct horse battery"}"#, SIGNED_IN),
    ("GET /api/v1/users/me/sessions", "", SIGNED_IN),
    ("DELETE /api/v1/users/me/sessions/{id}", "", OWN_ONLY),
    ("PUT /api/v1/users/{id}/role", r#"{"role": "operator"}"#, ADMINS),
    ("PUT /api/v1/users/{id}/namespace", r#"{"namespace": "{email}"}"#, ADMINS),
    ("POST /api/v1/auth/login/access-token", "username={registered}&password=correct+horse+battery", ANYBODY),
    ("POST /api/v1/auth/refresh", r#"{"refresh_token": "{refresh}"}"#, ANYBODY),
    ("POST /api/v1/auth/logout", "", SIGNED_IN),
    ("POST /api/v1/auth/logout-everywhere", "", SIGNED_IN),
    ("POST /api/v1/auth/session", r#"{"username": "{registered}", "password": "correct horse battery"}"#, ANYBODY),
    ("POST /api/v1/auth/session/code", r#"{"code": "2vTqJ0n8RrXbWm5sYd7kLz4hPf9cGa1e"}"#, UNKNOWN),
    ("POST /api/v1/auth/session/refresh", "", ANYBODY),
    ("DELETE /api/v1/auth/session", "", ANYBODY),
    ("GET /.well-known/jwks.json", "", ANYBODY),

    ("POST /api/v1/projects", r#"{"name": "P"}"#, SIGNED_IN),
    ("GET /api/v1/projects", "", SIGNED_IN),
    ("GET /api/v1/projects/{id}", "", MEMBERS_SEE),
    ("PATCH /api/v1/projects/{id}", r#"{"name": "Q"}"#, OWNER_DOES),
    ("DELETE /api/v1/projects/{id}", "", OWNER_DOES),
    ("PUT /api/v1/projects/{id}/members/{user_id}", "", OWNER_DOES),
    ("DELETE /api/v1/projects/{id}/members/{user_id}", "", OWNER_DOES),
    ("POST /api/v1/tasks", r#"{"project_id": "{project}", "title": "T"}"#, MEMBERS_DO),
    ("GET /api/v1/tasks", "", SIGNED_IN),
    ("GET /api/v1/tasks/{id}", "", MEMBERS_SEE),
    ("PATCH /api/v1/tasks/{id}", r#"{"title": "U"}"#, MEMBERS_DO),
    ("DELETE /api/v1/tasks/{id}", "", MEMBERS_DO),

    ("POST /api/v1/products", r#"{"sku": "{sku}", "name": "N", "price": "1.50", "currency": "EUR"}"#, OPERATORS),
    ("GET /api/v1/products", "", SIGNED_IN),
    ("GET /api/v1/products/{id}", "", SIGNED_IN),
    ("GET /api/v1/products/{id}/conservation", "", OPERATORS),
    ("PATCH /api/v1/products/{id}", r#"{"name": "M"}"#, OPERATORS),
    ("POST /api/v1/products/{id}/stock", r#"{"quantity": 1, "reason": "delivery"}"#, OPERATORS),
    ("POST /api/v1/orders", r#"{"items": [{"product_id": "{product}", "quantity": 1}]}"#, SIGNED_IN),
    ("GET /api/v1/orders", "", SIGNED_IN),
    ("GET /api/v1/orders/{id}", "", OWN),
    ("GET /api/v1/stuck-orders", "", OPERATORS),
    ("POST /api/v1/orders/{id}/cancel", "", OWN),
    ("POST /api/v1/orders/{id}/ship", "", OPERATORS),

    ("POST /api/v1/works", r#"{"add_up_to": 3}"#, SIGNED_IN),
    ("GET /api/v1/works", "", SIGNED_IN),
    ("GET /api/v1/works/{id}", "", SIGNED_IN),
    ("GET /api/v1/works/{id}/events", "", SIGNED_IN),

    ("POST /api/v1/telemetry", r#"[{"user_id": "u", "device_id": "d", "sequence_id": 1}]"#, SIGNED_IN),
    ("GET /api/v1/devices", "", SIGNED_IN),
    ("GET /api/v1/users/{user_id}/devices/{device_id}", "", OWN),
    ("GET /api/v1/users/{user_id}/devices/{device_id}/readings", "", OWN),
    ("GET /api/v1/users/{user_id}/devices/{device_id}/rejections", "", OWN),
    ("GET /api/v1/rejections", "", SIGNED_IN),
    ("GET /api/v1/users/{user_id}/presence", "", OWN),
    ("PUT /api/v1/users/{user_id}/presence", r#"{"inactive_after": "1h"}"#, OWN),

    ("GET /api/v1/users/{user_id}/config", "", OWN),
    ("PUT /api/v1/users/{user_id}/config", r#"{"rules": []}"#, OWN),
    ("GET /api/v1/config", "", SIGNED_IN),
    ("PUT /api/v1/config", r#"{"rules": []}"#, OPERATORS),
    ("GET /api/v1/alerts", "", SIGNED_IN),
    ("GET /api/v1/alerts/{id}", "", OWN),
    ("POST /api/v1/alerts/{id}/acknowledge", "", OWN),
    ("GET /api/v1/alerts/{id}/explanation", "", OWN),
    ("POST /api/v1/alerts/dry-run", r#"{"user_id": "{owner}", "rules": []}"#, OWN),

    ("POST /data", r#"{"any": "thing"}"#, SIGNED_IN),
    ("GET /data", "", SIGNED_IN),
    ("GET /data/{id}", "", OWN),
    ("PUT /api/v1/schemas/{name}", r#"{"type": "object"}"#, OPERATORS),
    ("GET /api/v1/schemas/{name}", "", SIGNED_IN),

    ("POST /api/v1/page-views", r#"{"path": "/"}"#, ANYBODY),
    ("GET /api/v1/page-views/stats", "", SIGNED_IN),

    ("GET /users", "", SIGNED_IN),
    ("GET /storage", "", SIGNED_IN),
    ("GET /api/v1/host/samples", "", OPERATORS),

    ("GET /api/v1/events", "", OPERATORS),
    ("GET /api/v1/events/stream", "", SIGNED_IN),
    ("POST /api/v1/events/tickets", "", SIGNED_IN),
    ("GET /api/v1/events/{position}/trace", "", OPERATORS),
    ("GET /api/v1/traces/{id}", "", OPERATORS),
    ("GET /api/v1/streams/{stream_id}", "", OPERATORS),
    ("GET /api/v1/streams/{stream_id}/states", "", OPERATORS),
    ("GET /api/v1/console/stream", "", OPERATORS),
    ("GET /api/v1/console/history", "", OPERATORS),
    ("GET /api/v1/about", "", OPERATORS),
    ("POST /api/v1/verifications", "", OPERATORS),
    ("GET /api/v1/verifications/last", "", OPERATORS),
    ("GET /api/v1/projections", "", OPERATORS),
    ("GET /api/v1/projections/{name}", "", OPERATORS),
    ("POST /api/v1/projections/{name}/rebuild", "", OPERATORS),
    ("GET /api/v1/parked", "", OPERATORS),
    ("GET /api/v1/skipped", "", OPERATORS),
    ("GET /api/v1/parked/{key}", "", OPERATORS),
    ("POST /api/v1/parked/{key}/retry", "", OPERATORS),
    ("POST /api/v1/parked/{key}/skip", r#"{"reason": "by a test"}"#, OPERATORS),
    ("GET /livez", "", ANYBODY),
    ("GET /readyz", "", ANYBODY),
    ("GET /startupz", "", ANYBODY),
    ("GET /metrics", "", OPERATORS),
    ("GET /asyncapi.json", "", ANYBODY),
    ("GET /", "", ANYBODY),
];

/// Returns every operation with an example of its body, which may be empty.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static str)> {
    MATRIX.iter().map(|(operation, body, _)| (*operation, *body))
}

/// The system and its callers.
pub(crate) struct World {
    pub(crate) system: System,
    callers: Vec<Caller>,
    owner_id: String,
    pub(crate) member_id: String,
    product: String,
    alert: String,
}

const PASSWORD: &str = "correct horse battery";

async fn register(anybody: &Caller, email: &str) -> Result<String> {
    let body = json!({"email": email, "password": PASSWORD, "full_name": "Somebody"});
    let user = anybody.command(Method::POST, "/api/v1/users", &body).await?;
    Ok(user["id"].as_str().context("an id")?.to_owned())
}

fn email() -> String {
    format!("{}@example.org", Uuid::now_v7())
}

impl World {
    pub(crate) async fn new(system: System) -> Result<Self> {
        let anybody = system.caller("");
        let mut ids = Vec::new();
        let mut callers = vec![anybody.clone()];
        for role in ["user", "user", "user", "operator", "admin"] {
            let id = register(&anybody, &email()).await?;
            // The log decides who administers, not the token.
            if role != "user" {
                let (path, body) = (format!("/api/v1/users/{id}/role"), json!({"role": role}));
                system.caller(&system.token).command(Method::PUT, &path, &body).await?;
            }
            callers.push(system.caller(system.token_for(&id, role).await?));
            ids.push(id);
        }
        let (owner_id, member_id) = (ids[2].clone(), ids[1].clone());
        let (product, alert) = (String::new(), String::new());
        let mut world = Self { system, callers, owner_id, member_id, product, alert };
        world.product = world.product().await?;
        world.alert = world.alert("d").await?;
        world.device().await?;
        world.schema().await?;
        Ok(world)
    }

    pub(crate) fn of(&self, name: &str) -> &Caller {
        let index = CALLERS.iter().position(|known| *known == name).expect("a caller");
        &self.callers[index]
    }

    async fn made(&self, by: &str, path: &str, body: Value) -> Result<String> {
        let made = self.of(by).command(Method::POST, path, &body).await?;
        Ok(made["id"].as_str().context("an id")?.to_owned())
    }

    async fn product(&self) -> Result<String> {
        let sku = Uuid::now_v7().to_string();
        let body = json!({"sku": sku, "name": "N", "price": "1.50", "currency": "EUR"});
        let id = self.made("operator", "/api/v1/products", body).await?;
        let body = json!({"quantity": 1_000_000, "reason": "delivery"});
        let path = format!("/api/v1/products/{id}/stock");
        self.of("operator").command(Method::POST, &path, &body).await?;
        Ok(id)
    }

    async fn project(&self) -> Result<String> {
        let id = self.made("owner", "/api/v1/projects", json!({"name": "P"})).await?;
        let path = format!("/api/v1/projects/{id}/members/{}", self.member_id);
        self.of("owner").command(Method::PUT, &path, &Value::Null).await?;
        Ok(id)
    }

    async fn task(&self) -> Result<String> {
        let body = json!({"project_id": self.project().await?, "title": "T"});
        self.made("owner", "/api/v1/tasks", body).await
    }

    /// A confirmed order, which can be shipped and cancelled.
    async fn order(&self) -> Result<String> {
        let body = json!({"items": [{"product_id": self.product, "quantity": 1}]});
        let id = self.made("owner", "/api/v1/orders", body).await?;
        eventually("the order is confirmed", async || {
            let order = self.of("owner").json(&format!("/api/v1/orders/{id}")).await?;
            Ok(order["status"] == "confirmed")
        })
        .await?;
        Ok(id)
    }

    async fn device(&self) -> Result<()> {
        let reading = json!([{"user_id": self.owner_id, "device_id": "d", "sequence_id": 1}]);
        let shown = self.of("owner").command(Method::POST, "/api/v1/telemetry", &reading).await?;
        ensure!(shown["items"][0]["verdict"] == "accepted", "{shown}");
        Ok(())
    }

    /// An alert of the owner's device.
    pub(crate) async fn alert(&self, device: &str) -> Result<String> {
        let config = format!("/api/v1/users/{}/config", self.owner_id);
        let rules = json!({"rules": [{"key": "x", "operator": ">", "threshold": 1}]});
        self.of("owner").command(Method::PUT, &config, &rules).await?;
        let reading =
            json!([{"user_id": self.owner_id, "device_id": device, "sequence_id": 2, "x": 2}]);
        self.of("owner").command(Method::POST, "/api/v1/telemetry", &reading).await?;
        let alerts = async || self.of("owner").json("/api/v1/alerts").await;
        eventually("it is raised", async || Ok(alerts().await?["items"][0]["device_id"] == device))
            .await?;
        Ok(alerts().await?["items"][0]["id"].as_str().context("an id")?.to_owned())
    }

    /// A stream parked by a consumer that no process runs, so it stays parked.
    async fn parked(&self) -> Result<String> {
        let stream = format!("work-{}", Uuid::now_v7());
        sqlx::query("insert into log.parked values ('test', $1, 1, 3, 'by a test', true)")
            .bind(&stream)
            .execute(&self.system.admin)
            .await?;
        Ok(format!("test:{stream}"))
    }

    async fn schema(&self) -> Result<()> {
        let body = json!({"type": "object"});
        self.of("operator").command(Method::PUT, "/api/v1/schemas/known", &body).await?;
        Ok(())
    }

    async fn refresh_token(&self) -> Result<String> {
        let email = email();
        register(self.of("anonymous"), &email).await?;
        self.sign_in(&email).await
    }

    /// Signs in and returns the refresh token.
    async fn sign_in(&self, email: &str) -> Result<String> {
        let form = [("username", email), ("password", PASSWORD)];
        let path = format!("{}/api/v1/auth/login/access-token", self.system.url());
        let answer = self.system.http.post(path).form(&form).send().await?.error_for_status()?;
        let tokens: Value = answer.json().await?;
        Ok(tokens["refresh_token"].as_str().context("a refresh token")?.to_owned())
    }

    /// A new session of the owner.
    async fn session(&self) -> Result<String> {
        let owner = self.of("owner").json("/api/v1/users/me").await?;
        self.sign_in(owner["email"].as_str().context("an address")?).await?;
        let newest = "select substr(stream_id, 9) from log.event where event_type = 'logged_in'
                      and data ->> 'user_id' = $1 order by position desc limit 1";
        let newest = sqlx::query_scalar(newest).bind(&self.owner_id);
        Ok(newest.fetch_one(&self.system.admin).await?)
    }

    /// Returns the value of `{placeholder}` in this call of `operation`.
    async fn filled(&self, operation: &str, placeholder: &str) -> Result<String> {
        let path = operation.split_once(' ').map_or("", |(_, path)| path);
        Ok(match placeholder {
            "id" => {
                match path.trim_start_matches("/api/v1").split('/').nth(1).unwrap_or_default() {
                    "projects" | "traces" => self.project().await?,
                    "tasks" => self.task().await?,
                    "orders" => self.order().await?,
                    "products" => self.product().await?,
                    "works" => self.made("owner", "/api/v1/works", json!({})).await?,
                    "alerts" => self.alert.clone(),
                    "data" => self.made("owner", "/data", json!({"a": 1})).await?,
                    "users" if path.contains("/sessions/") => self.session().await?,
                    "users" if operation.starts_with("GET") => self.owner_id.clone(),
                    "users" => register(self.of("anonymous"), &email()).await?,
                    other => anyhow::bail!("what is the id of {other}?"),
                }
            }
            "user_id" if path.contains("/members/") => self.member_id.clone(),
            "user_id" | "owner" => self.owner_id.clone(),
            "device_id" => "d".into(),
            "name" if path.contains("/projections/") => {
                eventually("no rebuild is running", async || {
                    let shown = self.of("admin").json("/api/v1/projections/host").await?;
                    Ok(shown["state"] != "rebuilding")
                })
                .await?;
                "host".into()
            }
            "key" => self.parked().await?,
            "name" => "known".into(),
            "position" => "1".into(),
            "stream_id" => format!("product-{}", self.product),
            "email" => email(),
            "registered" => {
                let email = email();
                register(self.of("anonymous"), &email).await?;
                email
            }
            "refresh" => self.refresh_token().await?,
            "sku" => Uuid::now_v7().to_string(),
            "project" => self.project().await?,
            "product" => self.product.clone(),
            other => anyhow::bail!("what is {{{other}}}?"),
        })
    }

    /// `template` with every placeholder filled. JSON's own braces hold more than a name.
    pub(crate) async fn fill(&self, operation: &str, template: &str) -> Result<String> {
        let mut text = template.to_owned();
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let parts: Vec<String> = text
            .split('{')
            .filter_map(|part| Some(part.split_once('}')?.0.to_owned()))
            .filter(|name| is_name(name))
            .collect();
        for name in parts {
            let value = self.filled(operation, &name).await?;
            text = text.replacen(&format!("{{{name}}}"), &value, 1);
        }
        Ok(text)
    }

    async fn says(&self, operation: &str, body: &str, caller: &str) -> Result<u16> {
        let (method, path) = operation.split_once(' ').context("a method and a path")?;
        if path == "/api/v1/verifications" {
            eventually("no verification is running", async || {
                let last = self.of("admin").json("/api/v1/verifications/last").await?;
                Ok(last["state"] != "running")
            })
            .await?;
        }
        let (path, body) = (self.fill(operation, path).await?, self.fill(operation, body).await?);
        let mut request = self.of(caller).request(method.parse()?, &path);
        if !body.is_empty() {
            let form = body.starts_with("username=");
            let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
            request = request.header("content-type", kind).body(body);
        }
        if path.starts_with("/api/v1/auth/session") {
            request = request.header("tributary-console", "1");
            let cookie = format!("tributary_refresh={}", self.refresh_token().await?);
            request = request.header("cookie", cookie);
        }
        // The status suffices: a stream of events has no end.
        Ok(request.send().await?.status().as_u16())
    }
}

#[tokio::test]
async fn every_operation_allows_exactly_the_callers_of_the_matrix() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let document = system.json("/openapi.json").await?;
    let documented = openapi::operations(&document)?;
    let documented: BTreeSet<_> = documented.iter().map(openapi::Operation::name).collect();
    let listed = operations().map(|(operation, _)| operation.to_owned()).collect();
    let differing: Vec<_> = documented.symmetric_difference(&listed).collect();
    ensure!(differing.is_empty(), "in the matrix or in the document only: {differing:?}");

    let world = World::new(system).await?;
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for (operation, body, expected) in MATRIX {
        for (caller, expected) in CALLERS.iter().zip(expected) {
            let status = world.says(operation, body, caller).await?;
            let says = match status {
                200..=299 => Yes,
                401 => WhoAreYou,
                403 => No,
                404 => Nothing,
                _ => {
                    wrong.insert(format!("{operation} by {caller}"), format!("{status}"));
                    continue;
                }
            };
            if says != *expected {
                let call = format!("{operation} by {caller}");
                wrong.insert(call, format!("{status} instead of {expected:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let tidy = "delete from log.parked where consumer = 'test'";
    sqlx::query(tidy).execute(&world.system.admin).await?;
    Ok(())
}
