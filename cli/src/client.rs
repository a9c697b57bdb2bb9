//! A client of our own API, for the commands that are no more than that.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde_json::Value;

use super::outcome::Failure;
use gateway::config::Server;

/// A command is answered once its effect is to be seen, or after five seconds: so that the next
/// line of a script sees it.
const PREFER: (&str, &str) = ("Prefer", "wait=5");
/// The same for what may take longer.
const PREFER_LONG: (&str, &str) = ("Prefer", "wait=20");
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to one server, as one caller.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Server,
}

impl Client {
    pub(super) fn new(server: Server) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { http, server })
    }

    /// The answer to a query.
    pub(super) async fn get(&self, path: &str, query: &impl Serialize) -> Result<Value, Failure> {
        answer(self.request(Method::GET, path).query(query).send().await?).await
    }

    /// The items of a list; parameters without a value are left out.
    pub(super) async fn list(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<Vec<Value>, Failure> {
        let given: Vec<_> = query.iter().filter(|(_, value)| value.is_some()).collect();
        let mut page = self.get(path, &given).await?;
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(anyhow!("{path} is not a list").into()),
        }
    }

    /// All items of a list, read in pages of `limit`.
    pub(super) async fn pages(&self, path: &str, limit: usize) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut next = Some(format!("{path}?limit={limit}"));
        while let Some(path) = next {
            let response = self.request(Method::GET, &path).send().await?;
            let link = response.headers().get("link").and_then(|link| link.to_str().ok());
            let target = link.and_then(|link| link.strip_prefix('<')?.split_once('>'));
            next = target.map(|(target, _)| target.to_owned());
            let mut page = answer(response).await?;
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                return Err(anyhow!("{path} is not a list").into());
            };
            items.extend(more);
        }
        Ok(items)
    }

    /// The answer to a command that may take long to show its effect.
    pub(super) async fn post_patiently(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).header(PREFER_LONG.0, PREFER_LONG.1);
        answer(request.json(body).send().await?).await
    }

    /// The answer to a command, null if it has no body.
    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.command(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.command(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.command(Method::PATCH, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.command(Method::DELETE, path, None::<&()>).await
    }

    /// It carries a key, so that it could be sent again.
    async fn command(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Value, Failure> {
        let key = uuid::Uuid::now_v7().to_string();
        let request = self.request(method, path).header("Idempotency-Key", key);
        let request = request.header(PREFER.0, PREFER.1);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        answer(request.send().await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.server.url.expose().trim_end_matches('/');
        let token = self.server.token.expose();
        self.http.request(method, format!("{base}{path}")).bearer_auth(token)
    }
}

async fn answer(response: Response) -> Result<Value, Failure> {
    let status = response.status();
    let body = response.bytes().await?;
    let body: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).with_context(|| format!("{status}, and not JSON"))?
    };
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().unwrap_or("no reason given");
    let faults = body["errors"].as_array().into_iter().flatten();
    let faults: Vec<String> = faults.map(|fault| format!("\n  {fault}")).collect();
    Err(anyhow!("{status}: {detail}{}", faults.concat()).into())
}
